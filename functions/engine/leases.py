"""Applies the reports of leases' holders, and renews leases by heartbeats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final

from functions.domain import request_ids
from functions.domain.events import Exit, Fail, Progress, Provision, Release, Renew, Retry, Return, Start, Stop
from functions.domain.fence import fence, has_held, require_has_held
from functions.domain.order import Order
from functions.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from functions.engine.concurrency import run_all
from functions.engine.outputs import Outputs
from functions.ports.orders import OrderStore, Snapshot, UnreadableOrder
from shared.crash_points import Point, reach
from shared.domain.order import FINAL, State
from shared.domain.spec import OrderKind

HEARTBEAT_BUDGET: Final = timedelta(seconds=10)
"""The time that a heartbeat may take: its launcher waits 15 s for the answer."""
STARTED: Final = FINAL | {State.RUNNING}
"""The states of an order whose program has started before its launcher reports that."""
LauncherReport = Provision | Start | Fail | Retry | Exit | Return | Stop


class WhyStop(StrEnum):
    CANCELLED = "cancelled"
    FINISHED = "finished"
    LEASE_LOST = "lease_lost"


@dataclass(frozen=True, slots=True)
class LeaseId:
    """Identifies a lease that a launcher believes it has."""

    order_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """The result for one hold: the order with its lease renewed `until` that time, a reason to stop its machine, or
    both.
    """

    hold: LeaseId
    order: Order | None = None
    until: datetime | None = None
    stop: WhyStop | None = None


@dataclass(frozen=True, slots=True)
class Leases:
    """`lease` is the time for which a heartbeat renews. `after_end` is called with an order that has ended, also by a
    repeat.
    """

    store: OrderStore
    outputs: Outputs
    clock: Callable[[], datetime]
    lease: timedelta
    after_end: Callable[[Order], object]

    def report(self, order_id: str, report: LauncherReport) -> Order:
        """Apply the launcher's report, and return the order. A repeat returns the same.

        Raises NotFound, also for an order that this launcher never held, LeaseLost, WrongState, Unavailable.
        """
        seen = self.store.read(order_id)
        require_has_held(seen.order, report.launcher or "")
        if isinstance(report, Start) and seen.order.kind is OrderKind.CAPACITY:
            raise WrongState("Only its worker reports that a capacity order runs.", state=seen.order.state)
        event: LauncherReport | Release = report
        if isinstance(report, Stop) and seen.order.kind is OrderKind.CAPACITY and seen.order.state is State.RUNNING:
            event = Release(report.request_id, report.epoch, report.launcher)  # it was fulfilled, so it succeeds
        try:
            order = self.store.apply(order_id, event, self.clock(), seen)
            reach(Point.UPDATE_STORED)
        except WrongState as refusal:
            if not isinstance(report, Start) or refusal.state not in STARTED:
                raise
            order = self.store.get(order_id)  # its program was faster
        if order.final:
            self.outputs.abandon(order)  # else a later attempt does it: a bucket that hangs is to hold up few reports
            self.after_end(order)
        return order

    def heartbeat(self, launcher: str, holds: Sequence[LeaseId], attended: bool) -> Sequence[Renewal]:
        """Renew the leases side by side, those that end soonest first, and return the result for each.

        A hold that the store does not renew in time is left out: its lease stays valid, and the next heartbeat tries
        again.
        """
        deadline = self.clock() + HEARTBEAT_BUDGET
        seen = self.store.get_many({hold.order_id for hold in holds})

        def lease_until(hold: LeaseId) -> datetime:
            found = seen.get(hold.order_id)
            held = isinstance(found, Snapshot) and found.order.lease
            return held.until if held else datetime.min.replace(tzinfo=UTC)  # none: it comes first

        soonest_first = sorted(dict.fromkeys(holds), key=lease_until)
        renew = partial(self._renew, seen, launcher, attended)
        renewals = run_all(renew, soonest_first, (deadline - self.clock()).total_seconds())
        return [renewal for renewal in renewals if renewal is not None]

    def held_by(self, launcher: str) -> Sequence[Order]:
        """Return the orders that a launcher holds; without an identity, those of all launchers of its name.

        A launcher asks at its start, because it may have died between a claim and its own record of the claim.
        """
        return self.store.held_by(launcher)

    def worker_started(self, order_id: str, epoch: int) -> Order:
        """Apply the worker's report that it started, and return the order.

        Raises NotFound, LeaseLost, WrongState, Unavailable.
        """
        seen = self.store.read(order_id)
        fence(seen.order, epoch)
        event = Start(request_ids.worker_started(epoch), epoch)
        try:
            order = self.store.apply(order_id, event, self.clock(), seen)
        except WrongState as refusal:
            if refusal.state != State.RUNNING:
                raise
            return seen.order  # the registration of its agent started the order, so the report succeeds
        reach(Point.CALLBACK_STARTED)
        return order

    def worker_progressed(self, order_id: str, report: Progress) -> Order:
        """Store what the worker has done so far, and return the order. Raises as `worker_started` does."""
        return self.store.apply(order_id, report, self.clock(), self.store.read(order_id))

    def worker_failed(self, order_id: str, report: Fail | Retry) -> Order:
        """Apply the worker's report that it failed, and return the order. Raises as `worker_started` does."""
        order = self.store.apply(order_id, report, self.clock(), self.store.read(order_id))
        reach(Point.CALLBACK_FAILED)
        self.outputs.abandon(order)
        if order.final:
            self.after_end(order)
        return order

    def _renew(
        self, seen: Mapping[str, Snapshot | UnreadableOrder], launcher: str, attended: bool, hold: LeaseId
    ) -> Renewal | None:
        found = seen.get(hold.order_id)
        if isinstance(found, UnreadableOrder):
            return None
        now = self.clock()
        event = Renew(request_ids.renew(hold.epoch), hold.epoch, launcher, now + self.lease, attended)
        try:
            order = self.store.apply(hold.order_id, event, now, found)
        except (LeaseLost, NotFound):
            return Renewal(hold, stop=WhyStop.LEASE_LOST)
        except WrongState:
            held = found is not None and has_held(found.order, launcher)
            return Renewal(hold, stop=WhyStop.FINISHED if held else WhyStop.LEASE_LOST)
        except Unavailable:
            return None
        reach(Point.HEARTBEAT_RENEWED)
        return Renewal(hold, order, event.lease_until, None if order.cancel_requested_at is None else WhyStop.CANCELLED)
