"""Applies what launchers of the agent-jobs contract report. They repeat no report, and act on no refusal.

| the job | what happens |
|---|---|
| is held by the sender | the report is applied |
| was held by the sender, and waits to be claimed again | the sender gets it back, and the report is applied |
| another launcher holds it, or it has ended | nothing |
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog

from functions.domain import request_ids
from functions.domain.events import Claim, Fail, Start, Succeed
from functions.domain.job_launchers import JobLauncher
from functions.domain.order import Order
from functions.domain.refusals import NotFound, WrongState
from functions.engine.image_reports import Ignored, apply_once, log_ignored
from functions.engine.job_launchers import JobLaunchers
from functions.ports.orders import OrderStore, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import Reason, State
from shared.domain.spec import OrderKind
from shared.log_events import LogEvent

NO_JOB: Final = "Job not found"

log = structlog.get_logger()


class ReportKind(StrEnum):
    """The last part of a report's path."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class JobReport:
    """`message` says why the job failed, or with what signal it was stopped."""

    kind: ReportKind
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobReports:
    """`lease` is the time for which a former holder gets a job back. `after_end` is called with an ended job."""

    launchers: JobLaunchers
    store: OrderStore
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    lease: timedelta
    after_end: Callable[[Order], object]

    def apply(self, launcher_id: str, account: str, stale_after: timedelta, job_id: str, report: JobReport) -> None:
        """Apply the report, or log why it changes nothing.

        Raises Unauthenticated for a launcher that the account has not registered, NotFound, Unavailable.
        """
        launcher = self.launchers.require(launcher_id, account, stale_after)
        try:
            seen = self.store.read(job_id)
        except NotFound:
            raise NotFound(NO_JOB) from None
        if seen.order.kind is not OrderKind.SESSION:
            raise NotFound(NO_JOB)
        order = self._give_back(seen, launcher) if launcher.holder in seen.order.former else seen.order
        if order.claimed_by != launcher.holder:
            after: Order | Ignored = Ignored.EARLIER_ATTEMPT if launcher.holder in order.former else Ignored.ANOTHERS
        else:
            as_seen = seen if order is seen.order else None
            after = apply_once(self.store, order, _event(order, launcher, report), self.clock(), as_seen)
        if isinstance(after, Ignored):
            log_ignored(after, job_id, report.kind)
            return
        reach(Point.JOB_REPORTED)
        if after.final:
            self.after_end(after)

    def _give_back(self, seen: Snapshot, launcher: JobLauncher) -> Order:
        """Claim a queued job for its former holder, which has started it after all; return the job as it is then."""
        if seen.order.state is not State.QUEUED:
            return seen.order
        now = self.clock()
        claim = Claim(self.new_id(), launcher.holder, now + self.lease, attended=False)
        try:
            order = self.store.apply(seen.order.id, claim, now, seen)
        except WrongState:  # another launcher was faster
            return self.store.get(seen.order.id)
        reach(Point.JOB_GIVEN_BACK)
        log.info(
            LogEvent.ORDER_GIVEN_BACK,
            message="Gave the job back to the launcher whose claim had expired.",
            order_id=order.id,
            epoch=order.epoch,
        )
        return order


def _event(order: Order, launcher: JobLauncher, report: JobReport) -> Start | Succeed | Fail:
    """Return the report's event. If the job is to stop, its failure ends the stop (`rules.advance`)."""
    epoch = order.epoch
    if report.kind is ReportKind.STARTED:
        return Start(request_ids.worker_started(epoch), epoch, launcher=launcher.holder)
    request_id = request_ids.worker_report(report.kind, epoch, report.message)
    if report.kind is ReportKind.COMPLETED:
        return Succeed(request_id, epoch)
    return Fail(request_id, epoch, Reason.PROGRAM_FAILED, report.message, launcher.holder)
