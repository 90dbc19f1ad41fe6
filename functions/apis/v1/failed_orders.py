"""For clients and operators: what to do with orders that failed for good (`GET /v1/orders?state=failed` lists them)."""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from functions.apis.v1.orders import CLIENTS, own, ring
from functions.apis.v1.views import order_view
from functions.app import App
from functions.domain.order import output_keys, place
from functions.domain.refusals import Gone, NotFound, WrongState
from functions.domain.rules import require_ended
from functions.engine import request_ids
from functions.http.authentication import Principal
from functions.http.routing import NoContent, Route
from functions.ports import IdempotencyKey
from shared.crash_points import Point, reach
from shared.domain.order import State
from shared.wire.orders import OrderView


def requeue(client: Principal, app: App, order_id: str) -> OrderView:
    """Place an order again that failed for good. A final state never changes: it is a new order, and only ever one."""
    dead = own(order_id, client, app).order
    require_ended(dead)
    if dead.state is State.SUCCEEDED:
        raise WrongState("The order succeeded; to have its work done again, place a new one.", state=dead.state)
    new_id = request_ids.requeued_order(dead.id)
    with suppress(NotFound):
        return order_view(app.store.get(new_id))
    placed = place(new_id, dead.account, dead.spec, app.clock(), dead.limits, requeued_from=dead.id)
    try:
        order = app.store.create(
            placed, IdempotencyKey(dead.account, request_ids.requeue_key(dead.id), new_id, lasting=True)
        )
    except Gone:
        raise Gone(f"Its successor, the order {new_id}, was removed; place a new order.") from None
    reach(Point.REQUEUE_STORED)
    ring(order, app)
    return order_view(order)


def purge(client: Principal, app: App, order_id: str) -> NoContent:
    """Remove an order that has ended, and all it left. None there, or none of this account's, is removed already."""
    try:
        order = own(order_id, client, app).order
    except NotFound:
        return NoContent()
    require_ended(order)
    for key in output_keys(order):
        app.bucket.delete(key)
    reach(Point.PURGE_DELETED)
    app.store.remove(order_id, request_ids.requeue_key(order_id))
    reach(Point.PURGE_REMOVED)
    return NoContent()


ROUTES: Final = (
    Route(
        "POST",
        "/v1/orders/{order_id}/requeue",
        CLIENTS,
        requeue,
        "Place a failed order again",
        status=HTTPStatus.CREATED,
        location="/v1/orders/{id}",
        conflicts=True,
    ),
    Route(
        "DELETE",
        "/v1/orders/{order_id}",
        CLIENTS,
        purge,
        "Remove an order that has ended, and its output",
        status=HTTPStatus.NO_CONTENT,
        conflicts=True,
    ),
)
