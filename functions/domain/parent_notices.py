"""Notices to a parent's session that its child's job has ended, and the mailbox in which they wait for the parent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from functions.domain.order import Order
from shared.domain.order import State
from shared.domain.spec import MAX_PROMPT, SessionSpec

FIRST_CHECK_DELAY: Final = timedelta(seconds=30)
MAX_CHECK_INTERVAL: Final = timedelta(minutes=10)
"""The time between two checks by the sweep of a job that goes on, or of a parent that is busy."""
NEVER_CREATED_AFTER: Final = timedelta(minutes=10)
"""A job that does not exist this long after its notice was stored was never created, or was removed."""
MAILBOX_TTL: Final = timedelta(days=1)
"""How long an empty mailbox is kept."""
MAX_WAITING: Final = 200
"""The number of notices that one mailbox holds; others wait outside."""
MAX_JOINED: Final = 16
"""The number of notices that one job brings: each has 4,000 characters of the prompt."""
MAX_SENT_REMEMBERED: Final = 200
"""The number of notices that a mailbox remembers as sent."""


class End(StrEnum):
    """How a job ended, in the words of the contract of agent jobs."""

    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


END_OF: Final = {
    State.SUCCEEDED: End.COMPLETED,
    State.FAILED: End.FAILED,
    State.EXPIRED: End.FAILED,
    State.CANCELLED: End.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Says that a parent is to be notified of a job's end. Stored under the job's id, before the job."""

    order_id: str
    account: str
    child: str
    parent: str
    created_at: datetime
    check_at: datetime
    """When the sweep must look at the job next."""


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """A child's job that has ended."""

    order_id: str
    child: str
    end: End


@dataclass(frozen=True, slots=True)
class ChildReport:
    """What a parent reads of a child's end. `text` is the child's result, or why its job failed; it may be empty."""

    ended: ChildEnd
    text: str


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The notices that wait for one parent. Stored under `mailbox_id`.

    `sending` are those of the job that is being created: they are fixed before it is, so that no two jobs bring the
    same notice. `sent` are the orders whose notices were brought last.
    """

    account: str
    parent: str
    check_at: datetime
    """When the sweep must look at the mailbox next."""
    waiting: tuple[ChildEnd, ...] = ()
    sending: tuple[ChildEnd, ...] = ()
    sent: tuple[str, ...] = ()
    since: datetime | None = None
    """Since when notices wait; None if none do."""

    @property
    def empty(self) -> bool:
        return not self.waiting and not self.sending

    def holds(self, order_id: str) -> bool:
        """Return whether the notice of this order is here, or was."""
        return order_id in self.sent or any(one.order_id == order_id for one in (*self.waiting, *self.sending))


def notice_of(order: Order, now: datetime) -> Notice | None:
    """Return the notice for a new job; None if it has no parent, or is its own."""
    spec = order.spec
    if not isinstance(spec, SessionSpec) or spec.parent_session_name in (None, spec.session_name):
        return None
    return Notice(order.id, order.account, spec.session_name, spec.parent_session_name, now, now + FIRST_CHECK_DELAY)


def later(since: datetime, now: datetime) -> datetime:
    """Return when to look again at what has gone on since then: each wait is as long as the time before it."""
    return now + min(max(now - since, FIRST_CHECK_DELAY), MAX_CHECK_INTERVAL)


def mailbox_id(account: str, parent: str) -> str:
    return f"{account}\n{parent}"


def put(mailbox: Mailbox, ended: ChildEnd, now: datetime) -> Mailbox:
    """Return the mailbox with the notice; the same one if it holds the notice already, or is full."""
    if mailbox.holds(ended.order_id) or len(mailbox.waiting) >= MAX_WAITING:
        return mailbox
    return replace(
        mailbox, waiting=(*mailbox.waiting, ended), since=mailbox.since or now, check_at=now + FIRST_CHECK_DELAY
    )


def with_sending(mailbox: Mailbox) -> Mailbox:
    """Return the mailbox with the first notices that wait as those of the next job, unless one is being created."""
    if mailbox.sending:
        return mailbox
    return replace(mailbox, sending=mailbox.waiting[:MAX_JOINED], waiting=mailbox.waiting[MAX_JOINED:])


def after_sending(mailbox: Mailbox, brought: Sequence[ChildEnd], now: datetime) -> Mailbox:
    """Return the mailbox after the job that brought these notices was created."""
    if mailbox.sending != tuple(brought):
        return mailbox
    sent = (*mailbox.sent, *(one.order_id for one in brought))[-MAX_SENT_REMEMBERED:]
    since = now if mailbox.waiting else None
    check_at = now + (FIRST_CHECK_DELAY if mailbox.waiting else MAILBOX_TTL)
    return replace(mailbox, sending=(), sent=sent, since=since, check_at=check_at)


def job_of(parent: str, last_job: Order | None, reports: Collection[ChildReport]) -> SessionSpec:
    """Return the job that resumes the parent with these reports.

    It runs where the parent's last job could run, as the same agent in the same directory. It names no parent of its
    own: otherwise two sessions that are each other's parents would resume each other for ever.
    """
    last = last_job.spec if last_job is not None and isinstance(last_job.spec, SessionSpec) else None
    room = MAX_PROMPT // len(reports)
    return SessionSpec(
        session_name=parent,
        prompt="\n\n".join(_paragraph(report, room - 2) for report in reports),
        resume=True,
        agent_name=last and last.agent_name,
        project_dir=last and last.project_dir,
        labels=last.labels if last else (),
    )


def _paragraph(report: ChildReport, room: int) -> str:
    """Return what the parent reads of one child, in at most `room` characters."""
    ended = report.ended
    head = f'The session "{ended.child}", which you started, has ended: its job {ended.order_id} {_VERB[ended.end]}.'
    text = report.text.strip()
    if not text:
        return head
    head = f"{head} {'Its result' if ended.end is End.COMPLETED else 'The reason'}:\n\n"
    left = room - len(head)
    return head + (text if len(text) <= left else text[: left - len(_CUT)] + _CUT)


_VERB: Final = {End.COMPLETED: "completed", End.FAILED: "failed", End.STOPPED: "was stopped"}
_CUT: Final = " […]"
