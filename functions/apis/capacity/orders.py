"""The contract's orders: claimed and reported on by workers that send no heartbeats; listed for people."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from functions.apis.capacity.dialect import ACCOUNTS, ADMINS
from functions.apis.capacity.late import accept_late, adopt, comes_late
from functions.apis.capacity.links import meet
from functions.apis.capacity.wire import STATUS_OF, Answer, CapacityOrder, Lenient, Short, Status, lane_of, size_of
from functions.app import App
from functions.domain.access import Role, narrowed
from functions.domain.events import AnyEvent, Claim, Fail, Note, Provision, Return, Start
from functions.domain.holder import holder_of
from functions.domain.order import Order
from functions.domain.refusals import Conflict, Forbidden, Invalid, LeaseLost, NotFound, Unavailable, WrongState
from functions.domain.rules import demands_attestation
from functions.domain.timing import MIN_BOOT_WITHOUT_HEARTBEATS
from functions.http import logs
from functions.http.authentication import Principal
from functions.http.paging import page_of
from functions.http.presence import Present
from functions.http.routing import Route
from functions.ports import OrderQuery, Snapshot
from shared.domain.datacenters import parse
from shared.domain.order import Reason, State
from shared.domain.spec import NodeSize, OrderKind

UNNAMED: Final = "*"
"""The holder's name of an account's workers of the contract, which have none; no launcher of ours can be called so."""
MORE_TIME: Final = timedelta(minutes=15)
"""How long a worker may provision until it is heard again."""
MOST_LISTED: Final = 10_000
READ_AT_ONCE: Final = 500
EXPIRED_AT_ONCE: Final = 10
"""How many expired claims a claim that found nothing releases."""
TRIES: Final = 4
"""How often a report is tried on an order that others change meanwhile."""
NOT_ENABLED: Final = "is not enabled on this launcher"
"""What a worker says of an order that it should not have been given: another may run it."""
NO_ORDER: Final = "Capacity launch order not found"
WRONG_SIZE: Final = f"Invalid node_size. Expected one of: {', '.join(NodeSize)}"
LAUNCHERS: Final = frozenset({Role.LAUNCHER})
REPORTED: Final = frozenset(Status) - {Status.OPEN}


class ClaimBody(Lenient):
    """Either may be empty: any."""

    datacenter: Short = ""
    node_size: Short = ""


class ClaimAnswer(Answer):
    claimed: bool
    order: CapacityOrder | None = None
    bootstrap_token: str | None = None


class UpdateBody(Lenient):
    """Of `vm_name` and `error`, null keeps what stands, an empty text clears it."""

    status: Short
    vm_name: Annotated[str, StringConstraints(max_length=255)] | None = None
    error: Annotated[str, StringConstraints(max_length=4000)] | None = None


class OrderFilter(Lenient):
    """Compared after trimming and in lower case; the contract knows no paging, `limit` and `after` are ours."""

    status: Short = ""
    datacenter: Short = ""
    node_size: Short = ""
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = MOST_LISTED
    after: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


class OrderList(Answer):
    """`next`, where there is more, is the `after` of the next page."""

    orders: tuple[CapacityOrder, ...]
    total: int
    next: str | None = None


NOTHING: Final = ClaimAnswer(claimed=False)
"""Also where the store does not answer: a worker of the contract ends at any error."""


def claim(body: ClaimBody, launcher: Principal, app: App, present: Present) -> ClaimAnswer:
    """Give the oldest order that fits, to a worker that is there to hear of it."""
    if not present():
        return NOTHING
    lanes = narrowed([lane_of(_datacenter(body.datacenter), _size(body.node_size))], launcher.datacenters)
    order = _next(lanes, holder_of(launcher.account, UNNAMED, launcher.identity), app)
    if order is None:
        return NOTHING
    logs.note(order_id=order.id)
    token = app.tokens.bootstrap(order.id, order.epoch)
    return ClaimAnswer(claimed=True, order=CapacityOrder.of(order), bootstrap_token=token)


def update(body: UpdateBody, launcher: Principal, app: App, order_id: str) -> CapacityOrder:
    """Take a worker's report; a repeat of the last one changes nothing. Where the order changes while it is taken (its
    guest registers, its claim expires), it is taken of what stands then.
    """
    status, sender = _reported(body.status), holder_of(launcher.account, UNNAMED, launcher.identity)
    for _ in range(TRIES):
        try:
            return CapacityOrder.of(_taken(status, body, _seen(order_id, app), sender, app))
        except (LeaseLost, WrongState):
            continue
    raise Unavailable("Others change the order at this moment; send the same report again.")


def browse(query: OrderFilter, app: App) -> OrderList:
    return _listed(query, None, app)


def browse_own(query: OrderFilter, caller: Principal, app: App, account_id: str) -> OrderList:
    if caller.account != account_id:
        raise Forbidden("Cannot access other account orders")
    return _listed(query, account_id, app)


def _next(lanes: tuple[str, ...], sender: str, app: App) -> Order | None:
    """Return an order, claimed. Where there is none, expired claims are released: the next claim may find them."""
    if not lanes:
        return None
    now = app.clock()
    asked = Claim(app.new_id(), sender, now + app.capacity.claim_ttl, attended=False)
    order = app.oldest.next(lanes, asked, now)
    if order is None:
        app.sweep.settle_held(EXPIRED_AT_ONCE)
    return order


def _seen(order_id: str, app: App) -> Snapshot:
    try:
        seen = app.store.look(order_id)
    except NotFound:
        raise NotFound(NO_ORDER) from None
    if seen.order.kind is not OrderKind.CAPACITY:
        raise NotFound(NO_ORDER)
    return seen


def _taken(status: Status, body: UpdateBody, seen: Snapshot, sender: str, app: App) -> Order:
    if comes_late(seen.order, sender):
        return accept_late(status, body.vm_name, seen.order, sender, app)
    return meet(_report(status, body, seen, sender, app), app)


def _report(status: Status, body: UpdateBody, seen: Snapshot, sender: str, app: App) -> Order:
    order = seen.order
    stands = STATUS_OF[order.state]
    if stands not in MAY_BECOME or status not in MAY_BECOME[stands]:
        if status is stands:
            return _told_again(body, seen, sender, app)
        raise Conflict(f"The order is {stands}; it cannot become {status}")
    event = _event(status, body, order, sender, app)
    if status is not Status.FAILED or body.vm_name is None:
        return app.store.apply(order.id, event, app.clock(), seen)
    app.store.apply(order.id, Note(app.new_id(), order.epoch, sender, app.clock(), body.vm_name), app.clock(), seen)
    return app.store.apply(order.id, event, app.clock())


def _told_again(body: UpdateBody, seen: Snapshot, sender: str, app: App) -> Order:
    """Return the order, which is what was reported. Its machine may have no name yet but its agent's, which was
    faster; or another machine is meant, from a claim of this account's that expired.
    """
    order = seen.order
    if order.state is not State.RUNNING or not body.vm_name or body.vm_name == order.vm:
        return order
    if order.agent is not None or order.vm is None:
        return app.store.apply(order.id, Provision(app.new_id(), order.epoch, sender, body.vm_name), app.clock(), seen)
    if sender in order.former:
        adopt(body.vm_name, order, sender, app)
    return order


def _event(status: Status, body: UpdateBody, order: Order, sender: str, app: App) -> AnyEvent:
    request_id, now = app.new_id(), app.clock()
    match status:
        case Status.CLAIMED:
            return Note(request_id, order.epoch, sender, now + app.capacity.claim_ttl, body.vm_name, body.error)
        case Status.PROVISIONING:
            return Provision(request_id, order.epoch, sender, body.vm_name, now + MORE_TIME, body.error)
        case Status.FULFILLED if demands_attestation(order):
            # Its word ends the provisioning only; from now on the machine's agent is waited for.
            return Provision(
                request_id, order.epoch, sender, body.vm_name, now + MIN_BOOT_WITHOUT_HEARTBEATS, body.error
            )
        case Status.FULFILLED:
            return Start(request_id, order.epoch, body.vm_name, body.error)
        case _:
            return _failure(request_id, body.error or "The launcher reported a failure.", order, sender)


def _failure(request_id: str, error: str, order: Order, sender: str) -> Fail | Return:
    if NOT_ENABLED in error:
        return Return(request_id, order.epoch, sender, Reason.NO_CAPACITY, error)
    return Fail(request_id, order.epoch, Reason.LAUNCH_FAILED, error)


def _listed(query: OrderFilter, account: str | None, app: App) -> OrderList:
    wanted = OrderQuery(
        account=account,
        states=_states(query.status),
        lane=lane_of(query.datacenter.strip().lower(), query.node_size.strip().lower()),
        oldest_first=True,
        limit=query.limit,
    )
    views, after = page_of(replace(wanted, after=query.after), CapacityOrder.of, READ_AT_ONCE, app.store.page)
    complete = query.after is None and after is None
    return OrderList(orders=views, total=len(views) if complete else app.store.count(wanted), next=after)


def _states(text: str) -> frozenset[State]:
    named = text.strip().lower()
    if not named:
        return frozenset()
    if named not in set(Status):
        raise Invalid("Invalid launch order status filter")
    return frozenset(state for state, status in STATUS_OF.items() if status == named)


def _datacenter(text: str) -> str:
    try:
        return parse(text) if text.strip() else ""
    except ValueError as error:
        raise Invalid(str(error)) from None


def _size(text: str) -> str:
    try:
        return size_of(text) or ""
    except ValueError:
        raise Invalid(WRONG_SIZE) from None


def _reported(text: str) -> Status:
    named = text.strip().lower()
    if named not in REPORTED:
        raise Invalid("invalid order status")
    return Status(named)


MAY_BECOME: Final[Mapping[Status, frozenset[Status]]] = {
    Status.CLAIMED: REPORTED,
    Status.PROVISIONING: REPORTED - {Status.CLAIMED},
}
"""What a worker may report of an order that is so; of one that has ended, only that again."""

ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/launchers/capacity/orders/claim",
        LAUNCHERS,
        claim,
        "Claim the oldest order",
        degraded=NOTHING,
    ),
    Route(
        "POST",
        "/api/v1/launchers/capacity/orders/{order_id}",
        LAUNCHERS,
        update,
        "Report on an order",
        missing=NO_ORDER,
    ),
    Route(
        "GET",
        "/api/v1/admin/agents/capacity/orders",
        ADMINS,
        browse,
        "List orders, oldest first",
    ),
    Route(
        "GET",
        "/api/v1/accounts/{account_id}/capacity/orders",
        ACCOUNTS,
        browse_own,
        "List an account's orders",
        missing="Account not found",
    ),
)
