"""Resumes a parent's session when the jobs of its children have ended.

Before a job with a parent is created, its notice is stored. Once the job has ended, the notice moves to its parent's
mailbox; once the parent is idle, one job brings it all that waits there. Each step can be repeated: the notice leaves
the first record only after it is in the second, and the mailbox names what the next job brings before that job is
created under an id derived from it. The sweep goes on with what a death, a failing store or a busy parent left.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from functions.domain import request_ids
from functions.domain.limits import POLICIES
from functions.domain.order import Order
from functions.domain.parent_notices import (
    END_OF,
    NEVER_CREATED_AFTER,
    ChildEnd,
    ChildReport,
    End,
    Mailbox,
    Notice,
    after_sending,
    job_of,
    later,
    mailbox_id,
    notice_of,
    put,
    with_sending,
)
from functions.domain.refusals import Conflict, Gone, NotFound, QuotaExceeded, Refusal, Unavailable
from functions.engine.agent_sessions import AgentSessions
from functions.engine.concurrency import run_all
from functions.engine.orders import NewOrder, Orders
from functions.engine.record_pages import until_none_is_left
from functions.engine.session_jobs import SessionJobs
from functions.ports.orders import OrderStore
from functions.ports.records import Records
from shared.crash_points import Point, reach
from shared.domain.spec import OrderKind, SessionSpec
from shared.log_events import LogEvent

SWEEP_SECONDS: Final = 8.0
"""The time that one sweep spends on notices, and as much on mailboxes."""

log = structlog.get_logger()


def expect(notices: Records[Notice], order: Order, now: datetime) -> None:
    """Store the notice for a job that is about to be created, if it has a parent. Raises Unavailable."""
    notice = notice_of(order, now)
    if notice is not None:
        notices.upsert(order.id, notice, lambda stored: stored)
        reach(Point.NOTICE_STORED)


@dataclass(frozen=True, slots=True)
class ParentNotices:
    notices: Records[Notice]
    mailboxes: Records[Mailbox]
    store: OrderStore
    orders: Orders
    jobs: SessionJobs
    sessions: AgentSessions
    clock: Callable[[], datetime]

    def settle(self, order: Order) -> None:
        """Do what the end of a job asks for; nothing if the order has not ended, or is not an agent's job.

        Its session is finished, its parent is notified, and so is the session of its children's ends. A failure is
        logged: the sweep goes on with the rest.
        """
        if not order.final or not isinstance(order.spec, SessionSpec):
            return
        try:
            self.sessions.finish(order)
            notice = self.notices.get(order.id)
            if notice is not None:
                self._settle(notice)
        except (NotFound, Unavailable) as refusal:
            _postponed(order.spec.session_name, refusal)
        self.deliver(order.account, order.spec.session_name)

    def deliver(self, account: str, parent: str) -> None:
        """Resume the parent with what waits in its mailbox, if it is idle. A failure is logged, as by `settle`."""
        try:
            mailbox = self.mailboxes.get(mailbox_id(account, parent))
            if mailbox is not None:
                self._deliver(mailbox)
        except (NotFound, Unavailable) as refusal:
            _postponed(parent, refusal)

    def remove_all(self, account: str) -> None:
        """Remove the account's notices and mailboxes, so that no job resumes its sessions. Raises Unavailable."""
        for notice in until_none_is_left(self.notices, account):
            self.notices.take(notice.order_id)
        for mailbox in until_none_is_left(self.mailboxes, account):
            self.mailboxes.take(mailbox_id(account, mailbox.parent))

    def sweep(self, limit: int) -> Counter[str]:
        """Look at the notices and at the mailboxes that are due, at most `limit` of each.

        Return the numbers of `created` jobs and of `records_forgotten`. Raises Unavailable.
        """
        moved = run_all(self._settle, self.notices.before("check_at", self.clock(), limit), SWEEP_SECONDS)
        checked = run_all(self._check, self.mailboxes.before("check_at", self.clock(), limit), SWEEP_SECONDS)
        return sum((*moved, *checked), start=Counter[str]())

    def _settle(self, notice: Notice) -> Counter[str]:
        """Move the notice to its parent's mailbox if its job has ended, and deliver it if the parent is idle."""
        now = self.clock()
        try:
            order = self.store.get(notice.order_id)
        except NotFound:
            if now - notice.created_at < NEVER_CREATED_AFTER:
                return self._postpone(notice)
            return Counter(records_forgotten=int(self.notices.take(notice.order_id) is not None))
        if not order.final:
            return self._postpone(notice)
        ended = ChildEnd(order.id, notice.child, END_OF[order.state])
        fresh = put(Mailbox(notice.account, notice.parent, check_at=now), ended, now)
        key = mailbox_id(notice.account, notice.parent)
        mailbox = self.mailboxes.upsert(key, fresh, lambda stored: put(stored, ended, now))
        if not mailbox.holds(order.id):
            return self._postpone(notice)  # it is full
        reach(Point.NOTICE_MOVED)
        self.notices.take(order.id)
        return self._deliver(mailbox)

    def _postpone(self, notice: Notice) -> Counter[str]:
        check_at = later(notice.created_at, self.clock())
        with suppress(NotFound):  # it was moved meanwhile
            self.notices.change(notice.order_id, lambda stored: replace(stored, check_at=check_at))
        return Counter()

    def _check(self, mailbox: Mailbox) -> Counter[str]:
        """Deliver what waits in a mailbox that is due; remove it if nothing does."""
        if not mailbox.empty:
            return self._deliver(mailbox)
        removed = self.mailboxes.take(mailbox_id(mailbox.account, mailbox.parent), lambda stored: stored == mailbox)
        return Counter(records_forgotten=int(removed is not None))

    def _deliver(self, mailbox: Mailbox) -> Counter[str]:
        """Create the job that resumes the parent, if it is idle; else check again later."""
        if mailbox.empty:
            return Counter()
        now, key = self.clock(), mailbox_id(mailbox.account, mailbox.parent)
        last_job = self.jobs.last(mailbox.account, mailbox.parent)
        if not mailbox.sending and self._busy(mailbox, last_job):
            check_at = later(mailbox.since or now, now)
            self.mailboxes.change(key, lambda stored: replace(stored, check_at=check_at))
            return Counter()
        # If it has changed since before the parent was read, another delivery may have created a job meanwhile.
        fixed = with_sending(mailbox)
        stored = self.mailboxes.change(key, lambda stored: fixed if stored == mailbox else stored)
        if stored != fixed:
            return Counter()
        mailbox = fixed
        for ended in mailbox.sending:
            self.notices.take(ended.order_id)  # after it is sent, no notice may be left that could be moved again
        try:
            created = self._create_job(mailbox, last_job)
        except QuotaExceeded as refusal:  # its mailbox must not keep others from the sweep
            check_at = later(mailbox.since or now, now)
            self.mailboxes.change(key, lambda stored: replace(stored, check_at=check_at))
            _postponed(mailbox.parent, refusal)
            return Counter()
        reach(Point.NOTICE_SENT)
        self.mailboxes.change(key, lambda stored: after_sending(stored, mailbox.sending, now))
        return Counter(created=created)

    def _busy(self, mailbox: Mailbox, last_job: Order | None) -> bool:
        if last_job is not None and not last_job.final:
            return True
        return self.sessions.runs(mailbox.account, mailbox.parent, last_job)

    def _create_job(self, mailbox: Mailbox, last_job: Order | None) -> int:
        """Create the job of what the mailbox sends, once; return 1, or 0 if it was created and removed before."""
        order_id = request_ids.notice_job(mailbox.account, [ended.order_id for ended in mailbox.sending])
        reports = [ChildReport(ended, self._text(mailbox.account, ended)) for ended in mailbox.sending]
        spec = job_of(mailbox.parent, last_job, reports)
        limits = POLICIES[OrderKind.SESSION].limits
        key = request_ids.notice_key(order_id)
        try:
            self.orders.create(NewOrder(mailbox.account, spec, limits, None, key, order_id, order_id))
        except (Gone, Conflict):
            return 0
        return 1

    def _text(self, account: str, ended: ChildEnd) -> str:
        """Return the child's last message if its job completed, else why it failed or was stopped."""
        try:
            order = self.store.get(ended.order_id)
        except NotFound:
            return ""
        if ended.end is not End.COMPLETED:
            return order.message or ""
        session = self.sessions.newest(account, ended.child)
        if session is None or session.result_at is None or session.result_at < order.created_at:
            return order.message or ""
        return session.result or ""


def _postponed(session_name: str, refusal: Refusal) -> None:
    message = "A session could not be resumed yet with its children's ends; the sweep tries again."
    log.warning(LogEvent.NOTICE_POSTPONED, message=message, session_name=session_name, why=refusal.message)
