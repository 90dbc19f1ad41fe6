"""The sweep: applies what is due to orders, and runs the APIs' chores. A scheduler starts it; two may run at once."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Final, Protocol

import structlog

from functions.domain.events import Discard, Ring
from functions.domain.order import HELD, Order
from functions.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from functions.domain.timing import due_event
from functions.engine.concurrency import run_all
from functions.engine.outputs import Outputs
from functions.ports.doorbell import Doorbell
from functions.ports.orders import KEY_TTL, OrderStore, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import FINAL, State
from shared.log_events import LogEvent
from shared.wire.bell import Bell

FAMILIES: Final = (HELD, frozenset({State.QUEUED}), FINAL)
"""The states of the orders that are looked for apart, so that many of one family hide none of another."""
NOTHING: Final = "nothing"
TIME_BUDGET: Final = timedelta(seconds=20)
"""The time that a sweep spends on orders; pools get as much. A function has 60 s unless it is deployed with more."""
KEYS_BUDGET: Final = timedelta(seconds=5)
"""The time that it spends on old idempotency keys."""


class Chore(Protocol):
    def __call__(self, *, limit: int) -> Counter[str]:
        """Handle at most `limit` records of a kind, and return counts by SweepAnswer's fields. Raises Unavailable."""


log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Swept:
    """The counts of a sweep. If `more`, other orders may be due."""

    done: Counter[str]
    orders: int
    keys_forgotten: int
    more: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    store: OrderStore
    doorbell: Doorbell
    outputs: Outputs
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    chores: Sequence[Chore] = ()
    after_end: Callable[[Order], object] = lambda _order: None
    """Called with each order that the sweep has ended."""

    def run(self, limit: int) -> Swept:
        """Settle the orders that are due, run the chores, and forget old idempotency keys. Raises Unavailable.

        Of the held, the queued and the ended orders, `limit` each are settled side by side, held ones first, so that
        none delays another for long; then the next ones, until none is due or the time is over. The next sweep
        continues with the rest.
        """
        outcomes, orders_left = self._settle_due(limit, self.clock() + TIME_BUDGET)
        chores = sum((chore(limit=limit) for chore in self.chores), start=Counter[str]())
        forgotten, keys_left = self._forget_keys(limit, self.clock() + KEYS_BUDGET)
        reach(Point.SWEEP_FORGOT)
        swept = Swept(Counter(outcomes) + chores, len(outcomes), forgotten, orders_left or keys_left)
        self._log(swept)
        return swept

    def settle_held(self, limit: int) -> None:
        """Settle at most `limit` held orders that are due: their leases have expired, or their limits have passed."""
        for snapshot in self.store.due(HELD, self.clock(), limit).orders:
            self._settle(self.doorbell, snapshot)

    def _log(self, swept: Swept) -> None:
        """Log what operators alert on: that the sweep ran, and how long the oldest order has been waiting."""
        now = self.clock()
        since = self.store.waiting_since(now)
        log.info(
            LogEvent.SWEEP_DONE,
            message="The sweep is done.",
            looked_at=swept.orders,
            **{name: swept.done[name] for name in ("rung", "requeued", "ended", "discarded")},
            more=swept.more,
            oldest_queued_seconds=0 if since is None else round((now - since).total_seconds()),
        )

    def _settle_due(self, limit: int, deadline: datetime) -> tuple[list[str], bool]:
        """Settle orders until none is due or the time is over; return the names of their counts, and whether others
        may be due.

        A family of which nothing could be settled is not read again: the same orders would come.
        """
        settle = partial(self._settle_one, _FragileDoorbell(self.doorbell))
        outcomes, left, families = list[str](), False, list(FAMILIES)
        while families:
            found = {states: self.store.due(states, self.clock(), limit) for states in families}
            due = [*chain.from_iterable(family.orders for family in found.values())]
            settled = dict(run_all(settle, due, (deadline - self.clock()).total_seconds()))
            outcomes += settled.values()
            more = [states for states, family in found.items() if family.more]
            changed = {order_id for order_id, name in settled.items() if name != NOTHING}
            families = [states for states in more if changed & {one.order.id for one in found[states].orders}]
            left |= len(settled) < len(due) or len(families) < len(more)
            if families and self.clock() >= deadline:
                return outcomes, True
        return outcomes, left

    def _settle_one(self, doorbell: Doorbell, seen: Snapshot) -> tuple[str, str]:
        return seen.order.id, self._settle(doorbell, seen)

    def _forget_keys(self, limit: int, deadline: datetime) -> tuple[int, bool]:
        """Forget old keys until there are none or the time is over; return their number, and whether others are old."""
        forgotten = 0
        while True:
            found = self.store.forget_keys(self.clock() - KEY_TTL, limit)
            forgotten += found
            if found < limit or self.clock() >= deadline:
                return forgotten, found == limit

    def _settle(self, doorbell: Doorbell, seen: Snapshot) -> str:
        """Apply what is due to one order, and return the name of its count; NOTHING if that was not possible."""
        order, now = seen.order, self.clock()
        event = due_event(order, now, self.new_id())
        if event is None:
            return NOTHING
        try:
            # The effect comes before its record: an effect may happen twice, but a record needs its effect.
            if isinstance(event, Ring):
                doorbell.ring(Bell(order.id, order.lane))
                reach(Point.SWEEP_RUNG)
            elif isinstance(event, Discard):
                self.outputs.discard(order)
                reach(Point.SWEEP_DELETED)
            settled = self.store.apply(order.id, event, now, seen)
        except (WrongState, LeaseLost, NotFound, Unavailable):
            return NOTHING
        reach(Point.SWEEP_APPLIED)
        if isinstance(event, Ring):
            return "rung"
        if isinstance(event, Discard):
            return "discarded"
        self.outputs.abandon(settled)
        if not settled.final:
            return "requeued"
        self.after_end(settled)
        return "ended"


class _FragileDoorbell:
    """A doorbell that, after a failure, is not rung again in the same sweep. One thread rings at a time."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._ringing = threading.Lock()
        self._failure: Unavailable | None = None

    def ring(self, bell: Bell) -> None:
        """Ring, unless an earlier bell of this sweep failed. Raises Unavailable."""
        with self._ringing:
            if self._failure is not None:
                raise self._failure
            try:
                self._doorbell.ring(bell)
            except Unavailable as refusal:
                message = "The doorbell has failed; the next sweep rings."
                log.warning(LogEvent.BELL_NOT_RUNG, message=message, why=refusal.message)
                self._failure = refusal
                raise
