"""For clients: create, get, list, cancel, requeue and purge orders, and download their outputs."""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from structlog.contextvars import bind_contextvars

from functions.apis.v1.views import order_view
from functions.domain.access import Role
from functions.domain.order import policy_of
from functions.domain.refusals import Invalid
from functions.engine.cancellations import Cancellations
from functions.engine.operator_secrets import OperatorSecrets
from functions.engine.orders import NewOrder, Orders, fingerprint
from functions.engine.outputs import Outputs
from functions.engine.purges import Purges
from functions.http.authentication import Principal
from functions.http.paging import page_of
from functions.http.routing import NoContent, Redirect, Route
from functions.ports.orders import OrderQuery
from shared.domain.order import State
from shared.domain.spec import OrderKind, TaskSpec
from shared.wire.orders import OrderList, OrderRequest, OrderView

CLIENTS: Final = frozenset({Role.ADMIN, Role.CLIENT})
MAX_BYTES: Final = 1024 * 1024
"""The limit of a body: a command has up to 65,536 characters, and JSON may write each as two escapes of 6 bytes."""
READ_AT_ONCE: Final = 50


class OrderFilter(BaseModel):
    """The query of `GET /v1/orders`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State | None = None
    kind: OrderKind | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


def create_order(
    body: OrderRequest, client: Principal, orders: Orders, secrets: OperatorSecrets, idempotency_key: str
) -> OrderView:
    asked, capacity = body.limits, body.order.kind is OrderKind.CAPACITY
    if capacity and asked.run_timeout_seconds is not None:
        wrong = {"limits.run_timeout_seconds": "A capacity order has none; give ttl_seconds"}
        raise Invalid("The limits are not those of this kind of order.", wrong)
    if not capacity and asked.ttl_seconds is not None:
        wrong = {"limits.ttl_seconds": "Only a capacity order has one; give run_timeout_seconds"}
        raise Invalid("The limits are not those of this kind of order.", wrong)
    if isinstance(body.order, TaskSpec) and bool(body.order.command) is (body.order.image is not None):
        wrong = {"order.command": "Give a command or an image, and not both"}
        raise Invalid("Some fields of the body are wrong.", wrong)
    if isinstance(body.order, TaskSpec) and body.order.secrets:
        secrets.require(client.account, body.order)
    given = {
        "queue_seconds": asked.queue_ttl_seconds,
        "boot_seconds": asked.boot_timeout_seconds,
        "run_seconds": asked.ttl_seconds or asked.run_timeout_seconds,
        "keep_seconds": asked.retention_seconds,
    }
    limits = replace(policy_of(body.order).limits, **{name: value for name, value in given.items() if value})
    new = NewOrder(
        client.account,
        body.order,
        limits,
        body.not_before,
        idempotency_key,
        fingerprint(body.model_dump_json()),
        by_operator=client.owner is None,
    )
    order = orders.create(new)
    bind_contextvars(order_id=order.id)
    return order_view(order)


def get_order(client: Principal, orders: Orders, order_id: str) -> OrderView:
    return order_view(orders.require_owned(order_id, client.owner).order)


def list_orders(query: OrderFilter, client: Principal, orders: Orders) -> OrderList:
    states = frozenset(() if query.state is None else (query.state,))
    wanted = OrderQuery(client.owner, states, query.kind, limit=query.limit, after=query.after)
    views, after = page_of(wanted, order_view, READ_AT_ONCE, orders.page)
    return OrderList(orders=views, next=after)


def cancel_order(client: Principal, cancellations: Cancellations, order_id: str) -> OrderView:
    return order_view(cancellations.cancel(order_id, client.owner))


def get_output(client: Principal, orders: Orders, outputs: Outputs, order_id: str) -> Redirect:
    return Redirect(outputs.link(orders.require_owned(order_id, client.owner).order))


def requeue_order(client: Principal, orders: Orders, order_id: str) -> OrderView:
    return order_view(orders.requeue(order_id, client.owner))


def purge_order(client: Principal, purges: Purges, order_id: str) -> NoContent:
    purges.purge(order_id, client.owner)
    return NoContent()


ROUTES: Final = (
    Route(
        "POST",
        "/v1/orders",
        CLIENTS,
        create_order,
        "Create an order",
        max_bytes=MAX_BYTES,
        status=HTTPStatus.CREATED,
        location="/v1/orders/{id}",
        conflicts=True,
    ),
    Route("GET", "/v1/orders", CLIENTS, list_orders, "List orders, newest first"),
    Route("GET", "/v1/orders/{order_id}", CLIENTS, get_order, "Get an order"),
    Route("POST", "/v1/orders/{order_id}/cancel", CLIENTS, cancel_order, "Cancel an order", conflicts=True),
    Route(
        "GET",
        "/v1/orders/{order_id}/output",
        CLIENTS,
        get_output,
        "Download an order's output",
        conflicts=True,
        head=False,  # the presigned URL is good for GET only
    ),
    Route(
        "POST",
        "/v1/orders/{order_id}/requeue",
        CLIENTS,
        requeue_order,
        "Create a failed order again",
        status=HTTPStatus.CREATED,
        location="/v1/orders/{id}",
        conflicts=True,
    ),
    Route(
        "DELETE",
        "/v1/orders/{order_id}",
        CLIENTS,
        purge_order,
        "Remove an order that has ended, and its output",
        status=HTTPStatus.NO_CONTENT,
        conflicts=True,
    ),
)
