"""The contract's orders. Workers, which send no heartbeats, claim them and report on them; people list them."""

from dataclasses import replace
from typing import Annotated, Final

from pydantic import Field, StringConstraints
from structlog.contextvars import bind_contextvars

from functions.apis.capacity.dialect import ACCOUNTS, ADMINS
from functions.apis.capacity.settings import CapacitySettings
from functions.apis.capacity.wire import (
    STATUS_OF,
    CapacityAnswer,
    CapacityOrder,
    CapacityStatus,
    Lenient,
    Short,
    lane_of,
    parse_pool,
)
from functions.domain.access import Role, narrowed
from functions.domain.holder import holder_of
from functions.domain.refusals import Forbidden, Invalid, NotFound
from functions.engine.accounts import NO_ACCOUNT
from functions.engine.credentials import CallbackTokens
from functions.engine.late_workers import LateWorkers, WorkerReport
from functions.engine.oldest_first_claims import OldestFirstClaims
from functions.engine.orders import Orders
from functions.http.authentication import Principal
from functions.http.paging import page_of
from functions.http.presence import Present
from functions.http.routing import Route
from functions.ports.orders import OrderQuery
from shared.domain.order import Reason, State

UNNAMED: Final = "*"
"""The name of all workers of an account, which have no names in the contract. No launcher can have this name."""
MAX_LISTED: Final = 10_000
READ_AT_ONCE: Final = 500
NOT_ENABLED: Final = "is not enabled on this launcher"
"""A worker's message contains this if the order is not meant for it: another worker may run the order."""
NO_ORDER: Final = "Capacity launch order not found"
LAUNCHERS: Final = frozenset({Role.LAUNCHER})
REPORTED: Final = {
    CapacityStatus.CLAIMED: State.CLAIMED,
    CapacityStatus.PROVISIONING: State.PROVISIONING,
    CapacityStatus.FULFILLED: State.RUNNING,
    CapacityStatus.FAILED: State.FAILED,
}


class ClaimBody(Lenient):
    """An empty field stands for any value."""

    datacenter: Short = ""
    node_size: Short = ""


class ClaimAnswer(CapacityAnswer):
    claimed: bool
    order: CapacityOrder | None = None
    bootstrap_token: str | None = None


class UpdateBody(Lenient):
    """For `vm_name` and `error`, null keeps the stored value, and an empty text clears it."""

    status: Short
    vm_name: Annotated[str, StringConstraints(max_length=255)] | None = None
    error: Annotated[str, StringConstraints(max_length=4000)] | None = None


class OrderFilter(Lenient):
    """Values are trimmed and lowered before the comparison. The contract has no pages: `limit` and `after` are
    additions.
    """

    status: Short = ""
    datacenter: Short = ""
    node_size: Short = ""
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = MAX_LISTED
    after: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


class OrderList(CapacityAnswer):
    """If there are more orders, `next` is the `after` of the next page."""

    orders: tuple[CapacityOrder, ...]
    total: int
    next: str | None = None


NO_CLAIM: Final = ClaimAnswer(claimed=False)
"""This is also the answer if the store is unavailable: a worker of the contract exits at any error."""


def claim(
    body: ClaimBody,
    launcher: Principal,
    present: Present,
    claims: OldestFirstClaims,
    tokens: CallbackTokens,
    settings: CapacitySettings,
) -> ClaimAnswer:
    """Claim the oldest order that fits, unless the worker has closed the connection and could not receive it."""
    if not present():
        return NO_CLAIM
    lane = lane_of(*parse_pool(body.datacenter, body.node_size, optional=True))
    holder = holder_of(launcher.account, UNNAMED, launcher.identity)
    order = claims.claim(narrowed([lane], launcher.datacenters), holder, settings.claim_ttl)
    if order is None:
        return NO_CLAIM
    bind_contextvars(order_id=order.id)
    token = tokens.bootstrap(order.id, order.epoch)
    return ClaimAnswer(claimed=True, order=CapacityOrder.of(order), bootstrap_token=token)


def report(
    body: UpdateBody, launcher: Principal, workers: LateWorkers, settings: CapacitySettings, order_id: str
) -> CapacityOrder:
    """Apply a worker's report. A repeat of the same report changes nothing."""
    named = body.status.strip().lower()
    if named not in set(REPORTED):
        raise Invalid("invalid order status")
    reason = Reason.NO_CAPACITY if NOT_ENABLED in (body.error or "") else Reason.LAUNCH_FAILED
    reported = WorkerReport(REPORTED[CapacityStatus(named)], body.vm_name, body.error, reason)
    holder = holder_of(launcher.account, UNNAMED, launcher.identity)
    try:
        return CapacityOrder.of(workers.report(order_id, holder, reported, settings.claim_ttl))
    except NotFound:
        raise NotFound(NO_ORDER) from None


def list_orders(query: OrderFilter, orders: Orders) -> OrderList:
    return _list(query, None, orders)


def list_own_orders(query: OrderFilter, caller: Principal, orders: Orders, account_id: str) -> OrderList:
    if caller.account != account_id:
        raise Forbidden("Cannot access other account orders")
    return _list(query, account_id, orders)


def _list(query: OrderFilter, account: str | None, orders: Orders) -> OrderList:
    status = query.status.strip().lower()
    if status and status not in set(CapacityStatus):
        raise Invalid("Invalid launch order status filter")
    asked = OrderQuery(
        account=account,
        states=frozenset(state for state, one in STATUS_OF.items() if one == status),
        lane=lane_of(query.datacenter.strip().lower(), query.node_size.strip().lower()),
        oldest_first=True,
        limit=query.limit,
    )
    views, after = page_of(replace(asked, after=query.after), CapacityOrder.of, READ_AT_ONCE, orders.page)
    complete = query.after is None and after is None
    return OrderList(orders=views, total=len(views) if complete else orders.count(asked), next=after)


ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/launchers/capacity/orders/claim",
        LAUNCHERS,
        claim,
        "Claim the oldest order",
        degraded=NO_CLAIM,
    ),
    Route(
        "POST",
        "/api/v1/launchers/capacity/orders/{order_id}",
        LAUNCHERS,
        report,
        "Report on an order",
        missing=NO_ORDER,
        conflicts=True,
    ),
    Route("GET", "/api/v1/admin/agents/capacity/orders", ADMINS, list_orders, "List orders, oldest first"),
    Route(
        "GET",
        "/api/v1/accounts/{account_id}/capacity/orders",
        ACCOUNTS,
        list_own_orders,
        "List an account's orders",
        missing=NO_ACCOUNT,
    ),
)
