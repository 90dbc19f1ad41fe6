"""On a schedule: do what is owed to orders that nobody has touched in time. Two sweeps at once do no harm."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from pydantic import TypeAdapter

from functions import logs
from functions.app import App
from functions.authentication import Principal
from functions.routing import Route
from shared.api import SweepAnswer, SweepRequest
from shared.domain.access import Role
from shared.domain.events import AnyEvent, Ring
from shared.domain.lifecycle import due_event
from shared.domain.order import HELD, Order, State
from shared.domain.refusals import LeaseLost, NotFound, Unavailable, WrongState
from shared.ports import Bell, Doorbell, Snapshot

WAITING: Final = frozenset({State.QUEUED})


def sweep(body: SweepRequest, _admin: Principal, app: App) -> SweepAnswer:
    """Lapsed leases first, and apart: however many orders wait to be rung for, none of them stands in their way."""
    lapsed, waiting = (app.store.due(states, app.clock(), body.limit) for states in (HELD, WAITING))
    bells = _Bells(app.doorbell)
    done = Counter(_settle(snapshot, bells.ring, app) for snapshot in (*lapsed, *waiting))
    return SweepAnswer(
        looked_at=len(lapsed) + len(waiting),
        rung=done["rung"],
        requeued=done["requeued"],
        ended=done["ended"],
        more=body.limit in (len(lapsed), len(waiting)),
    )


class _Bells:
    """A doorbell that, once out of order, is left alone for the rest of the sweep."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._broken: Unavailable | None = None

    def ring(self, bell: Bell) -> None:
        """Raises Unavailable."""
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
        if isinstance(event, Ring):
            ring(Bell(snapshot.order.id, snapshot.order.lane))
        return _outcome(event, app.store.apply(snapshot.order.id, event, now, snapshot))
    except (WrongState, LeaseLost, NotFound, Unavailable):
        return "nothing"


def _outcome(event: AnyEvent, order: Order) -> str:
    if isinstance(event, Ring):
        return "rung"
    return "ended" if order.final else "requeued"


ROUTES: Final = (
    Route(
        "POST",
        "/v1/sweeps",
        frozenset({Role.ADMIN}),
        sweep,
        "Do what is owed to orders whose time has come",
        SweepAnswer,
        body=TypeAdapter(SweepRequest),
    ),
)
