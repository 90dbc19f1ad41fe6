"""On a schedule: do what is owed to orders that nobody has touched in time. Two sweeps at once do no harm."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from typing import Final

from functions.app import App
from functions.domain.access import Role
from functions.domain.events import AnyEvent, Discard, Ring
from functions.domain.order import HELD, Order, output_keys
from functions.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from functions.domain.timing import due_event
from functions.engine.concurrency import together
from functions.engine.sweep import Chores
from functions.http import logs
from functions.http.routing import Route
from functions.ports import Doorbell, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import FINAL, State
from shared.wire.bell import Bell
from shared.wire.operators import SweepAnswer, SweepRequest

WAITING: Final = frozenset({State.QUEUED})
ENOUGH: Final = timedelta(seconds=20)
"""How long a sweep goes on with orders; pools have as much. A function has 60 s where it is not deployed with more."""
KEYS_KEPT: Final = timedelta(hours=24)
"""How long an Idempotency-Key stands for its order; a repeat after that is a new order."""


def sweep(body: SweepRequest, app: App, chores: Chores) -> SweepAnswer:
    """It reads what is due, never what is merely stored, at most `limit` of each family, and goes on for so long; the
    next sweep finds the rest. Held orders first, but side by side: none stands in another's way for long.
    """
    enough = app.clock() + ENOUGH
    families = [app.store.due(states, app.clock(), body.limit) for states in (HELD, WAITING, FINAL)]
    due = [*chain.from_iterable(family.orders for family in families)]
    bells = _Bells(app.doorbell)
    left = (enough - app.clock()).total_seconds()
    done = Counter(together(lambda snapshot: _settle(snapshot, bells.ring, app), due, left))
    kept_up = chores.run(body.limit)
    forgotten = app.store.forget_keys(app.clock() - KEYS_KEPT, body.limit)
    reach(Point.SWEEP_FORGOT)
    return SweepAnswer(
        looked_at=done.total(),
        rung=done["rung"],
        requeued=done["requeued"],
        ended=done["ended"],
        discarded=done["discarded"],
        keys_forgotten=forgotten,
        pools=kept_up["pools"],
        created=kept_up["created"],
        released=kept_up["released"],
        records_forgotten=kept_up["records_forgotten"],
        more=done.total() < len(due) or forgotten == body.limit or any(family.more for family in families),
    )


def settle_held(app: App, most: int) -> None:
    """Do what is owed to held orders whose time has come, at most so many: a claim that found nothing does so."""
    bells = _Bells(app.doorbell)
    for snapshot in app.store.due(HELD, app.clock(), most).orders:
        _settle(snapshot, bells.ring, app)


class _Bells:
    """A doorbell that, once out of order, is left alone for the rest of the sweep: rung by one at a time, to know."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._ringing = threading.Lock()
        self._broken: Unavailable | None = None

    def ring(self, bell: Bell) -> None:
        """Raises Unavailable."""
        with self._ringing:
            self._ring(bell)

    def _ring(self, bell: Bell) -> None:
        if self._broken is not None:
            raise self._broken
        try:
            self._doorbell.ring(bell)
        except Unavailable as refusal:
            logs.LOG.warning("The doorbell is out of order; the next sweep rings.", why=refusal.message)
            self._broken = refusal
            raise


def _settle(snapshot: Snapshot, ring: Callable[[Bell], None], app: App) -> str:
    """Return what was done: another was faster, or it cannot be done now, and the next sweep sees it again."""
    now = app.clock()
    event = due_event(snapshot.order, now, app.new_id())
    if event is None:
        return "nothing"
    try:
        _do(event, snapshot.order, ring, app)
        order = app.store.apply(snapshot.order.id, event, now, snapshot)
    except (WrongState, LeaseLost, NotFound, Unavailable):
        return "nothing"
    reach(Point.SWEEP_APPLIED)
    return _outcome(event, order)


def _do(event: AnyEvent, order: Order, ring: Callable[[Bell], None], app: App) -> None:
    """Do what the event says was done, before it is recorded: done twice is no harm, recorded and not done would be."""
    match event:
        case Ring():
            ring(Bell(order.id, order.lane))
            reach(Point.SWEEP_RUNG)
        case Discard():
            for key in output_keys(order):
                app.bucket.delete(key)
            reach(Point.SWEEP_DELETED)


def _outcome(event: AnyEvent, order: Order) -> str:
    match event:
        case Ring():
            return "rung"
        case Discard():
            return "discarded"
        case _:
            return "ended" if order.final else "requeued"


ROUTES: Final = (
    Route(
        "POST",
        "/v1/sweeps",
        frozenset({Role.ADMIN}),
        sweep,
        "Do what is owed to orders whose time has come",
    ),
)
