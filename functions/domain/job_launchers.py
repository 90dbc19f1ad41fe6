"""Launchers of the agent-jobs contract: what one registered, and when it counts as lost.

Such a launcher renews no leases. The control plane keeps a record of it, and what its running jobs depend on is when
it was last seen: by a poll, a heartbeat or a registration.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from functions.domain.holder import holder_of
from shared.domain.lanes import MAX_OFFERED
from shared.domain.spec import LABEL_PATTERN

ID: Final = re.compile(r"lnch_[0-9a-f]{12}")
SEEN_INTERVAL: Final = timedelta(seconds=20)
"""How old `last_seen_at` is before it is written again: a launcher polls at least every 30 s."""
DOUBT: Final = 1 / 2
"""The part of the stale time after which the sweep first notes that a launcher is silent."""
CONFIRM: Final = 1 / 3
"""The part of it for which the launcher must stay silent from then on: longer than a poll is held."""
STALE_LAUNCHER_TTL: Final = timedelta(days=1)
"""How long a launcher that sends nothing is kept. If it returns later than that, it must register again."""
STOP_REPEAT_INTERVAL: Final = timedelta(seconds=5)
"""The time after which a poll repeats the stop commands, because the answer with the first ones may have been lost."""
OFFERED_BY_NAME: Final = MAX_OFFERED - 2
"""The number of labels that a launcher may list in addition to those of its host and its executor."""


@dataclass(frozen=True, slots=True)
class JobLauncher:
    """Stored under its id. It belongs to the account whose key registered it."""

    id: str
    account: str
    hostname: str | None
    project_dir: str | None
    executor_type: str | None
    labels: tuple[str, ...]
    """The labels that a job may demand of it."""
    registered_at: datetime
    last_seen_at: datetime
    due_at: datetime
    """When the sweep must look at it next."""
    silent_since: datetime | None = None
    """When the sweep first noted that it is silent. Only if it still is a while later is it lost: after an outage of
    the control plane, every launcher looks silent.
    """
    deregistered: bool = False
    """Whether an operator has deregistered it. Its next poll is answered so, and then it is removed."""
    stops_sent: tuple[str, ...] = ()
    """The ids of the jobs in the last stop command that was sent to it."""
    stops_sent_at: datetime | None = None

    @property
    def holder(self) -> str:
        """Return its text in the leases of its jobs."""
        return holder_of(self.account, self.id)

    def stale(self, now: datetime, stale_after: timedelta) -> bool:
        return now - self.last_seen_at >= stale_after


def offered(labels: Sequence[str], hostname: str | None, executor_type: str | None) -> tuple[str, ...]:
    """Return the labels that a launcher offers: those that it lists, and its host and executor if they have the form
    of a label.
    """
    known = [f"host={hostname}".lower()] * (hostname is not None)
    known += [f"executor={executor_type}".lower()] * (executor_type is not None)
    return tuple(sorted({*labels, *(label for label in known if re.fullmatch(LABEL_PATTERN, label))}))


def seen(launcher: JobLauncher, now: datetime, stale_after: timedelta) -> JobLauncher:
    """Return the record of a launcher that has just sent something; the same one if it was seen a moment ago.

    One that an operator has deregistered counts as silent, whatever it sends, so that its jobs end even if it does not
    poll any more.
    """
    if launcher.deregistered:
        return launcher
    if now - launcher.last_seen_at < min(SEEN_INTERVAL, stale_after / 4):
        return launcher
    return replace(launcher, last_seen_at=now, due_at=first_check(now, stale_after), silent_since=None)


def first_check(last_seen_at: datetime, stale_after: timedelta) -> datetime:
    """Return when the sweep must look whether a launcher has fallen silent."""
    return last_seen_at + DOUBT * stale_after


def doubted(launcher: JobLauncher, now: datetime, stale_after: timedelta) -> JobLauncher:
    """Return the record of a launcher that the sweep has found silent for the first time."""
    confirmed_at = max(launcher.last_seen_at + stale_after, now + CONFIRM * stale_after)
    return replace(launcher, silent_since=now, due_at=confirmed_at)


def stops_to_send(launcher: JobLauncher, job_ids: Sequence[str], now: datetime) -> tuple[str, ...]:
    """Return which of the jobs that are to stop its next poll names: all, if some are new or the last answer is old."""
    sent_at = launcher.stops_sent_at
    if sent_at is not None and now - sent_at < STOP_REPEAT_INTERVAL and set(job_ids) <= set(launcher.stops_sent):
        return ()
    return tuple(sorted(job_ids))
