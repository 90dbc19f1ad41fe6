"""The sweep: on a schedule, do what is due for orders, and the chores of the APIs. Two sweeps at once do no harm."""

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
from functions.domain.order import HELD
from functions.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from functions.domain.timing import due_event
from functions.engine.concurrency import run_all
from functions.engine.outputs import Outputs
from functions.ports import Doorbell, OrderStore, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import FINAL, State
from shared.log_events import LogEvent
from shared.wire.bell import Bell

QUEUED: Final = frozenset({State.QUEUED})
TIME_BUDGET: Final = timedelta(seconds=20)
"""How long a sweep goes on with orders; pools have as much. A function has 60 s if it is not deployed with more."""
KEYS_KEPT: Final = timedelta(hours=24)
"""How long an Idempotency-Key stands for its order; a repeat after that is a new order."""


class Chore(Protocol):
    def __call__(self, *, limit: int) -> Counter[str]:
        """Read at most `limit` records of a kind; return how many of what was done. Raises Unavailable."""


log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of what was done; `more`: other orders may be due."""

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

    def run(self, limit: int) -> Swept:
        """Settle the orders that are due, at most `limit` each of the held, queued and ended ones; then do the chores.

        Held orders come first, but side by side: none delays another for long. What is left is for the next sweep.
        Raises Unavailable.
        """
        deadline = self.clock() + TIME_BUDGET
        families = [self.store.due(states, self.clock(), limit) for states in (HELD, QUEUED, FINAL)]
        due = [*chain.from_iterable(family.orders for family in families)]
        settle = partial(self._settle, _FragileDoorbell(self.doorbell))
        outcomes = run_all(settle, due, (deadline - self.clock()).total_seconds())
        chores = sum((chore(limit=limit) for chore in self.chores), start=Counter[str]())
        forgotten = self.store.forget_keys(self.clock() - KEYS_KEPT, limit)
        reach(Point.SWEEP_FORGOT)
        more = len(outcomes) < len(due) or forgotten == limit or any(family.more for family in families)
        return Swept(Counter(outcomes) + chores, len(outcomes), forgotten, more)

    def settle_held(self, limit: int) -> None:
        """Settle at most so many held orders that are due: their leases have expired, or their limits have passed."""
        for snapshot in self.store.due(HELD, self.clock(), limit).orders:
            self._settle(self.doorbell, snapshot)

    def _settle(self, doorbell: Doorbell, seen: Snapshot) -> str:
        """Do what is due for one order, and return what was done: "nothing" if it has changed, or the store is away."""
        order, now = seen.order, self.clock()
        event = due_event(order, now, self.new_id())
        if event is None:
            return "nothing"
        try:
            # The effect comes before its record: an effect twice does no harm, a record without its effect would.
            if isinstance(event, Ring):
                doorbell.ring(Bell(order.id, order.lane))
                reach(Point.SWEEP_RUNG)
            elif isinstance(event, Discard):
                self.outputs.discard(order)
                reach(Point.SWEEP_DELETED)
            settled = self.store.apply(order.id, event, now, seen)
        except (WrongState, LeaseLost, NotFound, Unavailable):
            return "nothing"
        reach(Point.SWEEP_APPLIED)
        if isinstance(event, Ring):
            return "rung"
        if isinstance(event, Discard):
            return "discarded"
        return "ended" if settled.final else "requeued"


class _FragileDoorbell:
    """A doorbell that, once it has failed, is left alone for the rest of the sweep; one thread rings at a time."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._ringing = threading.Lock()
        self._failure: Unavailable | None = None

    def ring(self, bell: Bell) -> None:
        """Raises Unavailable."""
        with self._ringing:
            if self._failure is not None:
                raise self._failure
            try:
                self._doorbell.ring(bell)
            except Unavailable as refusal:
                message = "The doorbell does not work; the next sweep rings."
                log.warning(LogEvent.BELL_NOT_RUNG, message=message, why=refusal.message)
                self._failure = refusal
                raise
