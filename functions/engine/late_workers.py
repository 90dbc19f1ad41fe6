"""Handles the reports of workers that send no heartbeats, including those after the worker's claim has expired.

A worker exits at any refusal, and the control plane cannot tell it to stop its machine. So there are four cases:

| the sender | the order | what happens |
|---|---|---|
| holds the order | | the report is applied |
| held it before | waits to be claimed | the sender gets it back, and the report is applied |
| held it before | another holds it, or it has failed | a machine that runs gets an order of its own; else NotFound |
| held it before | was cancelled, or demands attestation, or its account was deleted | NotFound |
| never held it, or long ago | | NotFound |

A former holder that reports a failure has no machine, so nothing changes.

Nobody has proved that the machine of a former holder exists. So each claim that lapsed gives one machine an order, only
for LAPSED_CLAIM_VALID after the lapse, and that order has an end. If the order demands attestation, the machine's
bootstrap token ended with its epoch: no agent can register from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from functions.domain import request_ids
from functions.domain.accounts import Removal
from functions.domain.events import AnyEvent, Claim, Fail, Note, Provision, Return, Start
from functions.domain.order import LapsedClaim, Order, place
from functions.domain.refusals import Conflict, Gone, LeaseLost, NotFound, Unavailable, WrongState
from functions.domain.rules import advance, demands_attestation
from functions.domain.timing import MIN_BOOT_WITHOUT_HEARTBEATS
from functions.engine.associations import Associations
from functions.ports.orders import IdempotencyKey, OrderStore, Snapshot
from functions.ports.records import Records
from shared.crash_points import Point, reach
from shared.domain.order import Reason, State
from shared.domain.spec import OrderKind
from shared.log_events import LogEvent

PROVISION_EXTENSION: Final = timedelta(minutes=15)
"""The time that a worker may provision until its next report."""
TRIES: Final = 4
"""The number of times that a report is applied to an order that others change at the same time."""
MAX_ADOPTED_RUN: Final = timedelta(hours=24)
"""How long the machine of a former holder keeps its own order, if the first order has no TTL."""
ENDED_WITHOUT_MACHINE: Final = frozenset({State.FAILED, State.CANCELLED, State.EXPIRED})
BACKWARDS: Final = (State.PROVISIONING, State.CLAIMED)
"""The (state, report) pair that would move a held order backwards."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker's report about its machine: `state` is CLAIMED, PROVISIONING, RUNNING or FAILED.

    For `vm` and `message`, None keeps the stored value, and an empty text clears it. `reason` is for FAILED;
    NO_CAPACITY queues the order again for another worker.
    """

    state: State
    vm: str | None = None
    message: str | None = None
    reason: Reason = Reason.LAUNCH_FAILED


class ImpossibleReport(Conflict):
    """An order in `state` cannot become `reported`."""

    def __init__(self, state: State, reported: State) -> None:
        super().__init__(f"The order is {state}; it cannot become {reported}.")
        self.state, self.reported = state, reported


@dataclass(frozen=True, slots=True)
class LateWorkers:
    """`removals` has a record of each account that was deleted within LAPSED_CLAIM_VALID."""

    store: OrderStore
    associations: Associations
    removals: Records[Removal]
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def report(self, order_id: str, sender: str, report: WorkerReport, claim_ttl: timedelta) -> Order:
        """Apply the report, and return the order. A repeat of the same report changes nothing.

        If the order changes at the same time (its agent registers, its claim expires), the report is applied to the
        changed order. Raises NotFound, ImpossibleReport, Unavailable.
        """
        for _ in range(TRIES):
            seen = self.store.read(order_id)
            order = seen.order
            if order.kind is not OrderKind.CAPACITY:
                raise NotFound("There is no such capacity order.")
            former = bool(order.recently_lapsed(sender, self.clock()))
            expired = order.state in ENDED_WITHOUT_MACHINE and former
            try:
                if order.claimed_by == sender and not expired:
                    return self.associations.associate_by_name(self._apply(report, seen, sender, claim_ttl))
                if not former:
                    raise NotFound("There is no such order of this worker.")
                if report.state is State.FAILED:
                    return order  # the sender has no machine, and the order no longer depends on it
                if demands_attestation(order):
                    raise NotFound("The bootstrap token of the worker's machine ended with its claim.")
                if order.state is State.QUEUED and (returned := self._give_back(order, sender, claim_ttl)) is not None:
                    return self._apply_to_returned(report, returned, order.created_at, sender)
                if report.state is not State.RUNNING or not self._adopt(report, order, sender, claim_ttl):
                    raise NotFound("The order is not this worker's any more.")
                return order
            except (LeaseLost, WrongState):
                continue
        raise Unavailable("Others change the order at this moment; send the same report again.")

    def _apply(self, report: WorkerReport, seen: Snapshot, sender: str, claim_ttl: timedelta) -> Order:
        """Apply the report of the order's holder."""
        order, now = seen.order, self.clock()
        present = State.RUNNING if order.state is State.SUCCEEDED else order.state
        present = State.FAILED if present in ENDED_WITHOUT_MACHINE else present
        if present not in (State.CLAIMED, State.PROVISIONING) or (present, report.state) == BACKWARDS:
            if report.state is present:
                return self._repeat(report, seen, sender, claim_ttl)
            raise ImpossibleReport(order.state, report.state)
        if report.state is State.FAILED and report.vm is not None:  # the events that end an order do not name a machine
            self.store.apply(order.id, Note(self.new_id(), order.epoch, sender, now, report.vm), now, seen)
            return self.store.apply(order.id, self._event(report, order, sender, claim_ttl), self.clock())
        return self.store.apply(order.id, self._event(report, order, sender, claim_ttl), now, seen)

    def _repeat(self, report: WorkerReport, seen: Snapshot, sender: str, claim_ttl: timedelta) -> Order:
        """Handle a report of the state that the order already has. If it names another machine, either that machine's
        agent registered before the report, or the machine belongs to an expired claim of the same account.
        """
        order = seen.order
        if order.state is not State.RUNNING or not report.vm or report.vm == order.vm:
            return order
        if order.agent is not None or order.vm is None:
            event = Provision(self.new_id(), order.epoch, sender, report.vm)
            return self.store.apply(order.id, event, self.clock(), seen)
        self._adopt(report, order, sender, claim_ttl)
        return order

    def _give_back(self, order: Order, sender: str, claim_ttl: timedelta) -> Order | None:
        """Claim the queued order for its former holder, and return it; None if another was faster."""
        now = self.clock()
        try:
            order = self.store.apply(order.id, Claim(self.new_id(), sender, now + claim_ttl, attended=False), now)
        except WrongState:
            return None
        log.info(
            LogEvent.ORDER_GIVEN_BACK,
            message="Gave the order back to the worker whose claim had expired.",
            order_id=order.id,
            epoch=order.epoch,
        )
        return order

    def _apply_to_returned(self, report: WorkerReport, order: Order, since: datetime, sender: str) -> Order:
        if report.state is not State.CLAIMED:
            order = self.store.apply(order.id, self._event_of_new_lease(report, order, sender), self.clock())
        return self.associations.associate_by_name(order, since)

    def _adopt(self, report: WorkerReport, order: Order, sender: str, claim_ttl: timedelta) -> bool:
        """Make sure that the machine of a former holder has an order, and return True; False if it may have none."""
        lapsed = order.recently_lapsed(sender, self.clock())
        if not lapsed or demands_attestation(order):
            return False
        ended_by_client = order.cancel_requested_at is not None or order.state is State.SUCCEEDED
        if not ended_by_client and self.removals.get(order.account) is None:
            for claim in lapsed:
                if self._create_order_of_machine(report, order, claim, claim_ttl):
                    return True
        log.warning(
            LogEvent.LATE_WORKER_REFUSED,
            message="Refused an order to the machine of a worker whose claim had expired.",
            order_id=order.id,
            launcher=sender,
            vm=report.vm,
        )
        return False

    def _create_order_of_machine(
        self, report: WorkerReport, order: Order, lapsed: LapsedClaim, claim_ttl: timedelta
    ) -> bool:
        """Create an order for the machine of a lapsed claim; return False if another machine of that claim has one.

        The new order's id is derived from the claim, so that repeats, and reports of other machines, create no second
        order. It is written once, as claimed and running: if it were written as queued first, another machine could get
        it after a crash. It has one attempt, because the first order still has to provide the machine that the client
        asked for.
        """
        now, new_id = self.clock(), request_ids.order_of_lapsed_claim(order.id, lapsed.launcher, lapsed.epoch)
        run_seconds = order.limits.run_seconds or MAX_ADOPTED_RUN.total_seconds()
        limits = replace(order.limits, run_seconds=run_seconds)
        placed = place(new_id, order.account, order.spec, now, limits, requeued_from=order.id)
        claim = Claim(self.new_id(), lapsed.launcher, now + claim_ttl, attended=False)
        claimed = advance(replace(placed, max_attempts=1), claim, now)
        word = f"A second machine for order {order.id}, of a launcher whose claim had expired. Cancel it if not needed."
        running = advance(claimed, Start(self.new_id(), claimed.epoch, report.vm, word), now)
        key = IdempotencyKey(order.account, request_ids.late_worker_key(new_id), new_id)
        try:
            created = self.store.create(running, key).order
        except Gone:  # its client has removed it
            return False
        if created.vm != running.vm:
            return False
        reach(Point.LATE_CREATED)
        log.warning(
            LogEvent.LATE_WORKER_ADOPTED,
            message="Created an order for the machine of a worker whose claim had expired.",
            order_id=order.id,
            new_order_id=new_id,
        )
        self.associations.associate_by_name(created, order.created_at)
        return True

    def _event(self, report: WorkerReport, order: Order, sender: str, claim_ttl: timedelta) -> AnyEvent:
        request_id, now = self.new_id(), self.clock()
        match report.state:
            case State.CLAIMED:
                return Note(request_id, order.epoch, sender, now + claim_ttl, report.vm, report.message)
            case State.PROVISIONING:
                return Provision(request_id, order.epoch, sender, report.vm, now + PROVISION_EXTENSION, report.message)
            case State.RUNNING if demands_attestation(order):
                # The report only ends provisioning: the order runs once the machine's agent has registered.
                return Provision(
                    request_id, order.epoch, sender, report.vm, now + MIN_BOOT_WITHOUT_HEARTBEATS, report.message
                )
            case State.RUNNING:
                return Start(request_id, order.epoch, report.vm, report.message)
            case _ if report.reason is Reason.NO_CAPACITY:
                return Return(request_id, order.epoch, sender, report.reason, report.message or "")
            case _:
                message = report.message or "The launcher reported a failure."
                return Fail(request_id, order.epoch, report.reason, message)

    def _event_of_new_lease(self, report: WorkerReport, order: Order, sender: str) -> Provision | Start:
        if report.state is State.RUNNING:
            return Start(self.new_id(), order.epoch, report.vm)
        return Provision(self.new_id(), order.epoch, sender, report.vm, self.clock() + MIN_BOOT_WITHOUT_HEARTBEATS)
