"""For clients: place orders, read and list them, cancel them, fetch what they left."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from functions.apis.v1.views import order_view
from functions.app import App
from functions.domain.access import Role
from functions.domain.events import Cancel, Ring
from functions.domain.limits import POLICIES, Limits
from functions.domain.order import Order, place
from functions.domain.refusals import Gone, Invalid, NotFound, Refusal, Unavailable, WrongState
from functions.engine import request_ids
from functions.engine.leases import find
from functions.http import logs
from functions.http.authentication import Principal
from functions.http.paging import page_of
from functions.http.routing import Redirect, Route
from functions.ports import IdempotencyKey, OrderQuery, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import State
from shared.domain.spec import OrderKind
from shared.wire.bell import Bell
from shared.wire.orders import OrderList, OrderRequest, OrderView

CLIENTS: Final = frozenset({Role.ADMIN, Role.CLIENT})
MOST_BYTES: Final = 1024 * 1024
"""Of an order's body: a prompt has 65,536 characters, of which JSON may write each as two escapes of 6 bytes."""
READ_AT_ONCE: Final = 50
DOWNLOAD_VALID: Final = timedelta(minutes=5)
LATEST: Final = timedelta(days=30)
"""How far off an order may be placed for."""
TTL_MISPLACED: Final = ("ttl_seconds", "Only a capacity order has one; give run_timeout_seconds")
RUN_TIMEOUT_MISPLACED: Final = ("run_timeout_seconds", "A capacity order has none; give ttl_seconds")


class OrderFilter(BaseModel):
    """The query of `GET /v1/orders`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State | None = None
    kind: OrderKind | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


def create(body: OrderRequest, client: Principal, app: App, idempotency_key: str) -> OrderView:
    fingerprint = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    limits, now = _limits(body), app.clock()
    _require_soon(body.not_before, now)
    placed = place(app.new_id(), client.account, body.order, now, limits, body.not_before)
    order = app.store.create(placed, IdempotencyKey(client.account, idempotency_key, fingerprint))
    reach(Point.CREATE_STORED)
    logs.note(order_id=order.id)
    if order.id == placed.id:
        ring(order, app)
    return order_view(order)


def read(client: Principal, app: App, order_id: str) -> OrderView:
    return order_view(own(order_id, client, app).order)


def browse(query: OrderFilter, client: Principal, app: App) -> OrderList:
    account = None if client.role is Role.ADMIN else client.account
    states = frozenset(() if query.state is None else (query.state,))
    wanted = OrderQuery(account, states, query.kind, limit=query.limit, after=query.after)
    views, after = page_of(wanted, order_view, READ_AT_ONCE, app.store)
    return OrderList(orders=views, next=after)


def cancel(client: Principal, app: App, order_id: str) -> OrderView:
    seen = own(order_id, client, app)
    if seen.order.cancel_requested_at is not None or seen.order.state is State.CANCELLED:
        return order_view(seen.order)
    order = app.store.apply(order_id, Cancel(request_ids.cancel_by_client()), app.clock(), seen)
    reach(Point.CANCEL_STORED)
    return order_view(order)


def output(client: Principal, app: App, order_id: str) -> Redirect:
    order = own(order_id, client, app).order
    if order.state is not State.SUCCEEDED:
        raise WrongState(f"The order is {order.state}; only one that succeeded has an output.", state=order.state)
    if order.discarded_at is not None:
        raise Gone(f"The output was removed on {order.discarded_at:%Y-%m-%d %H:%M} UTC; its retention was over.")
    if order.output is None:
        raise NotFound("The order succeeded, and leaves no output.")
    return Redirect(app.bucket.presign_download(order.output.key, order.output.file_name, DOWNLOAD_VALID))


def own(order_id: str, client: Principal, app: App) -> Snapshot:
    """Another account's order is none. Raises NotFound."""
    found = find(app.store, order_id)
    if client.role is not Role.ADMIN and found.order.account != client.account:
        raise NotFound("There is no such order.")
    return found


def _limits(body: OrderRequest) -> Limits:
    """Return what was asked for over what is usual. Raises Invalid."""
    asked, capacity = body.limits, body.order.kind is OrderKind.CAPACITY
    field, why = RUN_TIMEOUT_MISPLACED if capacity else TTL_MISPLACED
    if getattr(asked, field) is not None:
        raise Invalid("The body's fields are not as they should be.", {f"limits.{field}": why})
    given = {
        "queue_seconds": asked.queue_ttl_seconds,
        "boot_seconds": asked.boot_timeout_seconds,
        "run_seconds": asked.ttl_seconds or asked.run_timeout_seconds,
        "keep_seconds": asked.retention_seconds,
    }
    return replace(POLICIES[body.order.kind].limits, **{name: value for name, value in given.items() if value})


def _require_soon(not_before: datetime | None, now: datetime) -> None:
    if not_before is not None and not_before > now + LATEST:
        raise Invalid("The body's fields are not as they should be.", {"not_before": "At most 30 days from now"})


def ring(order: Order, app: App) -> None:
    """Ring for an order that may be claimed. One that was not rung for is no failure: the sweep rings again."""
    now = app.clock()
    if order.available_at > now:
        return
    try:
        app.doorbell.ring(Bell(order.id, order.lane))
        reach(Point.CREATE_RUNG)
        app.store.apply(order.id, Ring(app.new_id()), now)
        reach(Point.CREATE_RECORDED)
    except (WrongState, NotFound):
        return  # a launcher was faster, or its client, who has no more use for it
    except Unavailable as refusal:
        _unheard(refusal)


def _unheard(refusal: Refusal) -> None:
    logs.LOG.warning("The order stands; its bell was not recorded, and the sweep rings again.", why=refusal.message)


ROUTES: Final = (
    Route(
        "POST",
        "/v1/orders",
        CLIENTS,
        create,
        "Place an order",
        max_bytes=MOST_BYTES,
        status=HTTPStatus.CREATED,
        location="/v1/orders/{id}",
        conflicts=True,
    ),
    Route("GET", "/v1/orders", CLIENTS, browse, "List orders, newest first"),
    Route("GET", "/v1/orders/{order_id}", CLIENTS, read, "Read an order"),
    Route("POST", "/v1/orders/{order_id}/cancel", CLIENTS, cancel, "Wish an order stopped", conflicts=True),
    Route(
        "GET",
        "/v1/orders/{order_id}/output",
        CLIENTS,
        output,
        "Fetch an order's output",
        conflicts=True,
        head=False,  # the presigned URL is good for GET only
    ),
)
