"""Registers launchers of the agent-jobs contract, notes when they were last seen, and ends the jobs of lost ones.

A running job has no lease that expires: what it depends on is that its launcher reports. Once the launcher is lost
or deregistered, its running jobs have failed, and are not run again unless a client asks for it. A job that it claimed
and did not start is queued again when its lease lapses.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from functions.domain import request_ids
from functions.domain.events import Fail
from functions.domain.holder import name_of
from functions.domain.job_launchers import ID, STALE_LAUNCHER_TTL, JobLauncher, doubted, first_check, offered, seen
from functions.domain.order import Order
from functions.domain.refusals import LeaseLost, NotFound, QuotaExceeded, Unauthenticated, WrongState
from functions.engine.concurrency import run_all
from functions.engine.record_pages import ALL, every, until_none_is_left
from functions.ports.orders import OrderStore
from functions.ports.records import Records
from shared.crash_points import Point, reach
from shared.domain.order import Reason, State
from shared.log_events import LogEvent

NOT_REGISTERED: Final = "Launcher not registered"
NO_LAUNCHER: Final = "Launcher not found"
RESUME: Final = "What the job has done is not known: to continue, resume its session with a new job."
REGISTERED_LAUNCHERS: Final = "registered_launchers"
"""The quota of launchers that an account has registered, those that are gone for less than a day included."""
MAX_REGISTERED: Final = 10_000
"""As many as one that is started every 10 s leaves behind in a day, and as a sweep can look at."""
RETRY_SECONDS: Final = 60
TIME_BUDGET: Final = 15.0
"""Seconds that a sweep spends on launchers."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JobLaunchers:
    """`nudge` wakes the polls with which a holder waits here. `after_end` is called with a job that has ended.
    `stale_after` is always the time after which a launcher that sends nothing is lost.
    """

    records: Records[JobLauncher]
    store: OrderStore
    nudge: Callable[[str], None]
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    after_end: Callable[[Order], object]

    def register(
        self,
        account: str,
        hostname: str | None,
        project_dir: str | None,
        executor_type: str | None,
        labels: Sequence[str],
        stale_after: timedelta,
    ) -> JobLauncher:
        """Store a new launcher, and return it. Raises QuotaExceeded if the account has too many, Unavailable."""
        if self.records.count({"account": account}) >= MAX_REGISTERED:
            message = f"{MAX_REGISTERED} launchers of this account are registered. Deregister those that are gone."
            raise QuotaExceeded(REGISTERED_LAUNCHERS, message, RETRY_SECONDS)
        now = self.clock()
        launcher = JobLauncher(
            id=request_ids.job_launcher(self.new_id()),
            account=account,
            hostname=hostname,
            project_dir=project_dir,
            executor_type=executor_type,
            labels=offered(labels, hostname, executor_type),
            registered_at=now,
            last_seen_at=now,
            due_at=first_check(now, stale_after),
        )
        self.records.add(launcher.id, launcher)
        reach(Point.JOB_LAUNCHER_REGISTERED)
        return launcher

    def require(self, launcher_id: str, account: str, stale_after: timedelta) -> JobLauncher:
        """Return the launcher that sent this request, and note that it was seen.

        Raises Unauthenticated, also if another account registered it, and Unavailable.
        """
        launcher, now = self.records.get(launcher_id), self.clock()
        if launcher is None or launcher.account != account:
            raise Unauthenticated(NOT_REGISTERED)
        if seen(launcher, now, stale_after) is launcher:
            return launcher
        try:
            return self.records.change(launcher_id, lambda stored: seen(stored, now, stale_after))
        except NotFound:
            raise Unauthenticated(NOT_REGISTERED) from None

    def may_be_stopped(self, order: Order) -> bool:
        """Return whether a stop command can reach the order's holder: not if it registered, and was removed since."""
        name = "" if order.claimed_by is None else name_of(order.claimed_by)
        return ID.fullmatch(name) is None or self.records.get(name) is not None

    def list_launchers(self, owner: str | None) -> Sequence[JobLauncher]:
        """Return an account's launchers, those of all accounts if `owner` is None, the oldest first."""
        found = every(self.records, "registered_at", ALL if owner is None else {"account": owner})
        return sorted(found, key=lambda launcher: (launcher.registered_at, launcher.id))

    def deregister(self, launcher_id: str, owner: str | None, itself: bool, stale_after: timedelta) -> None:
        """Remove a launcher that deregisters itself; mark one that an operator deregisters, until its next poll.

        Raises NotFound, also if the launcher belongs to another account, and Unavailable.
        """
        launcher = self.records.get(launcher_id)
        if launcher is None or owner not in (None, launcher.account):
            raise NotFound(NO_LAUNCHER)
        if itself:
            self.remove(launcher)
        else:
            self._mark(launcher, stale_after)
        self.nudge(launcher.holder)

    def _mark(self, launcher: JobLauncher, stale_after: timedelta) -> None:
        def mark(stored: JobLauncher) -> JobLauncher:
            return replace(stored, deregistered=True, due_at=min(stored.due_at, stored.last_seen_at + stale_after))

        try:
            self.records.change(launcher.id, mark)
        except NotFound:
            raise NotFound(NO_LAUNCHER) from None
        reach(Point.JOB_LAUNCHER_MARKED)

    def remove(self, launcher: JobLauncher) -> int:
        """Remove a launcher that is gone for good, and return how many running jobs failed with it. Raises Unavailable.

        The jobs end first, so that a death in between leaves a record from which the sweep continues. They are looked
        for once more at the end: one may have been reported as started meanwhile.
        """
        message = f"The launcher {launcher.id} was deregistered while the job ran. {RESUME}"
        ended = self._fail_running(launcher, message)
        self.records.take(launcher.id)
        reach(Point.JOB_LAUNCHER_REMOVED)
        return ended + self._fail_running(launcher, message)

    def remove_all(self, account: str) -> None:
        """Remove the account's launchers; their running jobs fail. Raises Unavailable."""
        for launcher in until_none_is_left(self.records, account):
            self.remove(launcher)
            self.nudge(launcher.holder)

    def sweep(self, stale_after: timedelta, limit: int) -> Counter[str]:
        """Look at the launchers that are due, `limit` at a time, until none is due or the time is over.

        Return the numbers of jobs that `ended` and of `records_forgotten`. Raises Unavailable.
        """
        done, tried, deadline = Counter[str](), set[str](), self.clock() + timedelta(seconds=TIME_BUDGET)
        while (left := (deadline - self.clock()).total_seconds()) > 0:
            due = self.records.before("due_at", self.clock(), limit)
            if tried.issuperset(one.id for one in due):
                break  # none, or only such as could not be settled
            tried.update(one.id for one in due)
            done += sum(run_all(partial(self._settle, stale_after), due, left), start=Counter[str]())
        return done

    def _settle(self, stale_after: timedelta, found: JobLauncher) -> Counter[str]:
        launcher, now = self.records.get(found.id), self.clock()
        if launcher is None or launcher.due_at > now:
            return Counter()  # it polled or reported, or was removed, since the sweep read it
        silent = now - launcher.last_seen_at
        if silent >= STALE_LAUNCHER_TTL or (launcher.deregistered and silent >= stale_after):
            return Counter(ended=self.remove(launcher), records_forgotten=1)
        if launcher.silent_since is None:
            self._change_unless_seen(launcher, doubted(launcher, now, stale_after))
            return Counter()
        message = f"The launcher {launcher.id} sent no heartbeat for {stale_after.total_seconds():g} s. {RESUME}"
        ended = self._fail_running(launcher, message)
        self._change_unless_seen(launcher, replace(launcher, due_at=launcher.last_seen_at + STALE_LAUNCHER_TTL))
        log.warning(
            LogEvent.JOB_LAUNCHER_LOST,
            message="A launcher of agents' jobs has fallen silent; its running jobs have failed.",
            launcher_id=launcher.id,
            jobs=ended,
        )
        return Counter(ended=ended)

    def _change_unless_seen(self, launcher: JobLauncher, changed: JobLauncher) -> None:
        with suppress(NotFound):
            self.records.change(launcher.id, lambda stored: changed if stored == launcher else stored)

    def _fail_running(self, launcher: JobLauncher, message: str) -> int:
        """End the launcher's running jobs, and return their number. Raises Unavailable."""
        ended = 0
        while running := [order for order in self.store.held_by(launcher.holder) if order.state is State.RUNNING]:
            now_ended = sum(self._fail(order, launcher, message) for order in running)
            ended += now_ended
            if not now_ended:
                break
        return ended

    def _fail(self, order: Order, launcher: JobLauncher, message: str) -> bool:
        request_id = request_ids.job_launcher_lost(order.epoch)
        event = Fail(request_id, order.epoch, Reason.LEASE_LAPSED, message, launcher.holder)
        try:
            ended = self.store.apply(order.id, event, self.clock())
        except (WrongState, LeaseLost, NotFound):
            return False
        reach(Point.JOB_LOST)
        self.after_end(ended)
        return True
