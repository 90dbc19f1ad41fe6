"""For launchers: take an order, by the id that a bell named or as the next that fits."""

from datetime import timedelta
from typing import Any, Final

from pydantic import TypeAdapter

from functions.app import App
from functions.domain.access import Role, narrowed
from functions.domain.events import Claim
from functions.domain.order import Order
from functions.domain.refusals import Conflict, Forbidden, WrongState
from functions.engine import request_ids
from functions.engine.leases import find, holder, holds
from functions.http import logs
from functions.http.authentication import Principal
from functions.http.presence import Present
from functions.http.routing import Route
from shared.crash_points import Point, reach
from shared.wire.launchers import ClaimAnswer, ClaimById, Claimed, ClaimNext, ClaimRequest

LOOK_AGAIN: Final = 1.0
"""Seconds between two looks for an order while a launcher waits."""


def claim(body: ClaimRequest, launcher: Principal, app: App, present: Present) -> ClaimAnswer:
    """`claimed` is null where the order is another's by now, or where none fits: the launcher need not ask again."""
    sender = holder(launcher, body.launcher)
    lanes = narrowed(body.lanes, launcher.datacenters)
    if not lanes:
        raise Forbidden(f"This key is good for {', '.join(launcher.datacenters)} only, and for none of these lanes.")
    body = body.model_copy(update={"lanes": lanes})
    order = _by_id(body, sender, app) if isinstance(body, ClaimById) else _next(body, sender, app, present)
    if order is None or order.lease is None or not holds(order, sender):
        return ClaimAnswer(claimed=None)
    reach(Point.CLAIM_STORED)
    logs.note(order_id=order.id)
    token = app.tokens.issue(order.id, order.epoch)
    claimed = Claimed(
        order_id=order.id,
        epoch=order.epoch,
        lease_until=order.lease.until,
        lease_seconds=(order.lease.until - app.clock()).total_seconds(),
        spec=order.spec,
        callback_token=token,
    )
    return ClaimAnswer(claimed=claimed)


def _by_id(body: ClaimById, sender: str, app: App) -> Order | None:
    seen = find(app.store, body.order_id)
    if not set(seen.order.lanes) & set(body.lanes):
        raise Conflict(f"The order is of the lane {seen.order.lane}, which is none of those asked for.")
    try:
        return app.store.apply(body.order_id, _claim(body, sender, app), app.clock(), seen)
    except WrongState:
        return None


def _next(body: ClaimNext, sender: str, app: App, present: Present) -> Order | None:
    """A launcher that has hung up gets no order: it is looked for just before each try."""
    deadline = app.clock() + timedelta(seconds=body.wait_seconds)
    while present():
        order, left = _look(body, sender, app), (deadline - app.clock()).total_seconds()
        if order is not None or left <= 0:
            return order
        app.wait(min(LOOK_AGAIN, left))
    return None


def _look(body: ClaimNext, sender: str, app: App) -> Order | None:
    """Look for what this request has taken already, then for the next.

    A repeat whose first answer was lost may reach any instance, while the first still waits at another: so each look
    asks the store, the only thing they have in common, at the price of one read.
    """
    asked = _claim(body, sender, app)
    taken = (order for order in app.store.remembering(asked.request_id) if holds(order, sender))
    return next(taken, None) or app.candidates.next(body.lanes, asked, app.clock())


def _claim(body: ClaimById | ClaimNext, sender: str, app: App) -> Claim:
    return Claim(request_ids.of_launcher(sender, body.request_id), sender, app.clock() + app.lease, body.attended)


BODY: Final[TypeAdapter[Any]] = TypeAdapter(ClaimRequest)

ROUTES: Final = (
    Route(
        "POST",
        "/v1/claims",
        frozenset({Role.LAUNCHER}),
        claim,
        "Take an order",
        conflicts=True,
    ),
)
