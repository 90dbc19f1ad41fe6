"""For launchers: report on an order they hold, and renew all they hold with one heartbeat."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from functions.app import App
from functions.authentication import Principal
from functions.holders import fence, find, holder, request_of
from functions.routing import Route
from shared.api import (
    AttemptFailed,
    HeartbeatAnswer,
    HeartbeatRequest,
    Hold,
    OrderView,
    Provisioning,
    Renewed,
    Returned,
    StopOrder,
    Stopped,
    UpdateRequest,
)
from shared.domain.access import Role
from shared.domain.events import AnyEvent, Fail, Provision, Release, Renew, Retry, Return, Stop
from shared.domain.order import LEASE, Order, Reason, State
from shared.domain.refusals import Invalid, LeaseLost, NotFound, Unavailable, WrongState
from shared.domain.spec import OrderKind
from shared.ports import Snapshot

LAUNCHERS: Final = frozenset({Role.LAUNCHER})
OURS: Final = frozenset(
    {
        Reason.RETRIES_EXHAUSTED,
        Reason.QUEUE_TTL,
        Reason.LEASE_LAPSED,
        Reason.CANCELLED,
        Reason.RELEASED,
        Reason.RETURNED,
    }
)
"""Reasons that only the control plane gives; a launcher's are all others."""


def update(body: UpdateRequest, launcher: Principal, app: App, order_id: str) -> OrderView:
    seen = find(app.store, order_id)
    fence(seen.order, body.epoch)
    event = _event(body, seen.order, holder(launcher, body.launcher))
    return OrderView.of(app.store.apply(order_id, event, app.clock(), seen))


def heartbeat(body: HeartbeatRequest, launcher: Principal, app: App) -> HeartbeatAnswer:
    """What the store did not let us renew now is in neither list: its lease stands, and the next heartbeat tries."""
    sender = holder(launcher, body.launcher)
    seen = app.store.get_many({hold.order_id for hold in body.holds})
    answers: list[Renewed | StopOrder] = []
    for hold in dict.fromkeys(body.holds):
        try:
            answers += _renew(hold, seen, sender, app)
        except Unavailable:  # the others would take as long to fail, and what was renewed is to be told in time
            break
    return HeartbeatAnswer(
        renewed=tuple(answer for answer in answers if isinstance(answer, Renewed)),
        stop=tuple(answer for answer in answers if isinstance(answer, StopOrder)),
    )


def _event(body: UpdateRequest, order: Order, sender: str) -> AnyEvent:
    request_id = request_of(sender, body.request_id)
    match body:
        case Provisioning():
            return Provision(request_id, body.epoch, sender, body.vm)
        case AttemptFailed():
            return _failure(body, order, sender, request_id)
        case Returned():
            return Return(request_id, body.epoch, sender, body.message)
        case Stopped():
            fulfilled = order.kind is OrderKind.CAPACITY and order.state is State.RUNNING
            return (Release if fulfilled else Stop)(request_id, body.epoch, sender)


def _failure(body: AttemptFailed, order: Order, sender: str, request_id: str) -> Fail | Retry:
    """The event itself does not name its launcher, since workers send it too: so the sender is checked here."""
    if body.reason in OURS:
        raise Invalid("The body's fields are not as they should be.", {"reason": "Not a launcher's reason to give"})
    if order.lease is not None and order.lease.launcher != sender:
        raise LeaseLost(f"Epoch {body.epoch} of this order is held by another launcher.")
    return (Retry if body.retryable else Fail)(request_id, body.epoch, body.reason, body.message)


def _renew(hold: Hold, seen: Mapping[str, Snapshot], sender: str, app: App) -> list[Renewed | StopOrder]:
    """Return what to tell of one hold. Raises Unavailable, with nothing renewed."""
    snapshot = seen.get(hold.order_id)
    if snapshot is None:
        return [_stop(hold, "lease_lost")]
    now = app.clock()
    event = Renew(f"renew@{hold.epoch}", hold.epoch, sender, now + LEASE)
    try:
        order = app.store.apply(hold.order_id, event, now, snapshot)
    except (LeaseLost, NotFound):
        return [_stop(hold, "lease_lost")]
    except WrongState:
        return [_stop(hold, "finished")]
    left = (event.lease_until - app.clock()).total_seconds()
    renewed = Renewed(order_id=hold.order_id, epoch=hold.epoch, lease_until=event.lease_until, lease_seconds=left)
    return [renewed] if order.cancel_requested_at is None else [renewed, _stop(hold, "cancelled")]


def _stop(hold: Hold, why: Literal["cancelled", "finished", "lease_lost"]) -> StopOrder:
    return StopOrder(order_id=hold.order_id, epoch=hold.epoch, why=why)


BODY: Final[TypeAdapter[Any]] = TypeAdapter(UpdateRequest)

ROUTES: Final = (
    Route(
        "POST",
        "/v1/updates/{order_id}",
        LAUNCHERS,
        update,
        "Report on an order that is held",
        OrderView,
        body=BODY,
        conflicts=True,
    ),
    Route(
        "POST",
        "/v1/heartbeats",
        LAUNCHERS,
        heartbeat,
        "Renew everything that is held",
        HeartbeatAnswer,
        body=TypeAdapter(HeartbeatRequest),
    ),
)
