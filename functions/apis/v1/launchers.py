"""For launchers: report on an order they hold, and renew all they hold with one heartbeat."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from functions.apis.v1.views import order_view
from functions.app import App
from functions.domain.access import Role
from functions.domain.events import AnyEvent, Exit, Fail, Provision, Release, Renew, Retry, Return, Stop
from functions.domain.holder import are_one
from functions.domain.order import Order
from functions.domain.refusals import Invalid, LeaseLost, NotFound, Unavailable, WrongState
from functions.engine import request_ids
from functions.engine.concurrency import together
from functions.engine.leases import fence, find, holder
from functions.http.authentication import Principal
from functions.http.routing import Route
from functions.ports import Snapshot, Unreadable
from shared.crash_points import Point, reach
from shared.domain.order import Failure, Reason, State
from shared.domain.spec import OrderKind
from shared.wire.base import Name
from shared.wire.launchers import (
    AttemptFailed,
    HeartbeatAnswer,
    HeartbeatRequest,
    Hold,
    HoldsView,
    HoldView,
    MachineGone,
    Provisioning,
    Renewed,
    Returned,
    StopOrder,
    Stopped,
    UpdateRequest,
)
from shared.wire.orders import OrderView

LAUNCHERS: Final = frozenset({Role.LAUNCHER})
ENOUGH: Final = timedelta(seconds=10)
"""How long a heartbeat goes on renewing: its launcher waits 15 s for the answer."""
OURS: Final = frozenset(
    {
        Reason.RETRIES_EXHAUSTED,
        Reason.QUEUE_TTL,
        Reason.BOOT_TIMEOUT,
        Reason.RUN_TIMEOUT,
        Reason.TTL,
        Reason.LEASE_LAPSED,
        Reason.CANCELLED,
        Reason.RELEASED,
        Reason.RETURNED,
    }
)
"""Reasons that only the control plane gives; a launcher's are all others."""


class HoldsQuery(BaseModel):
    """The query of `GET /v1/holds`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    launcher: Name


def update(body: UpdateRequest, launcher: Principal, app: App, order_id: str) -> OrderView:
    seen = find(app.store, order_id)
    fence(seen.order, body.epoch)
    event = _event(body, seen.order, holder(launcher, body.launcher))
    order = app.store.apply(order_id, event, app.clock(), seen)
    reach(Point.UPDATE_STORED)
    return order_view(order)


def heartbeat(body: HeartbeatRequest, launcher: Principal, app: App) -> HeartbeatAnswer:
    """What the store did not let us renew now is in neither list: its lease stands, and the next heartbeat tries.

    Renewed side by side, those that end soonest first: one that the store will not write keeps no other waiting, and
    what was renewed is told in time.
    """
    sender, enough = holder(launcher, body.launcher), app.clock() + ENOUGH
    seen = app.store.get_many({hold.order_id for hold in body.holds})
    asked = sorted(dict.fromkeys(body.holds), key=lambda hold: _lease_until(seen.get(hold.order_id)))

    def renew(hold: Hold) -> list[Renewed | StopOrder]:
        return _renew(hold, seen.get(hold.order_id), sender, body.attended, app)

    left = (enough - app.clock()).total_seconds()
    told = [part for parts in together(renew, asked, left) for part in parts]
    return HeartbeatAnswer(
        renewed=tuple(part for part in told if isinstance(part, Renewed)),
        stop=tuple(part for part in told if isinstance(part, StopOrder)),
    )


def holds(query: HoldsQuery, launcher: Principal, app: App) -> HoldsView:
    """What a launcher that has just started is believed to hold: it may have died between a claim and its record.

    Without an identity: what all launchers of its name hold.
    """
    held = app.store.held_by(holder(launcher, query.launcher))
    return HoldsView(holds=tuple(HoldView(order_id=one.id, epoch=one.epoch, state=one.state) for one in held))


def _event(body: UpdateRequest, order: Order, sender: str) -> AnyEvent:
    request_id = request_ids.of_launcher(sender, body.request_id)
    match body:
        case Provisioning():
            return Provision(request_id, body.epoch, sender, body.vm)
        case AttemptFailed():
            return _failure(body, order, sender, request_id)
        case MachineGone():
            return Exit(request_id, body.epoch, sender, body.message)
        case Returned():
            return Return(request_id, body.epoch, sender, Reason.RETURNED, body.message)
        case Stopped():
            fulfilled = order.kind is OrderKind.CAPACITY and order.state is State.RUNNING
            return (Release if fulfilled else Stop)(request_id, body.epoch, sender)


def _failure(body: AttemptFailed, order: Order, sender: str, request_id: str) -> Fail | Retry | Return:
    """Two of these events do not name their launcher, since workers send them too: so the sender is checked here."""
    if body.reason in OURS:
        raise Invalid("The body's fields are not as they should be.", {"reason": "Not a launcher's reason to give"})
    if order.lease is not None and not are_one(order.lease.launcher, sender):
        raise LeaseLost(f"Epoch {body.epoch} of this order is held by another launcher.")
    match body.failure:
        case Failure.RETRYABLE:
            return Retry(request_id, body.epoch, body.reason, body.message)
        case Failure.PERMANENT:
            return Fail(request_id, body.epoch, body.reason, body.message)
        case Failure.NO_CAPACITY:
            return Return(request_id, body.epoch, sender, body.reason, body.message)


def _lease_until(seen: Snapshot | Unreadable | None) -> datetime:
    """A hold of nothing is answered first: that costs nothing."""
    if not isinstance(seen, Snapshot) or seen.order.lease is None:
        return datetime.min.replace(tzinfo=UTC)
    return seen.order.lease.until


def _renew(
    hold: Hold, seen: Snapshot | Unreadable | None, sender: str, attended: bool, app: App
) -> list[Renewed | StopOrder]:
    """Return what to tell of one hold: nothing where it cannot be renewed now."""
    if isinstance(seen, Unreadable):
        return []
    now = app.clock()
    event = Renew(request_ids.renew(hold.epoch), hold.epoch, sender, now + app.lease, attended)
    try:
        order = app.store.apply(hold.order_id, event, now, seen)
    except (LeaseLost, NotFound):
        return [_stop(hold, "lease_lost")]
    except WrongState:
        return [_stop(hold, "finished")]
    except Unavailable:
        return []
    reach(Point.HEARTBEAT_RENEWED)
    left = (event.lease_until - app.clock()).total_seconds()
    renewed = Renewed(
        order_id=hold.order_id, epoch=hold.epoch, lease_until=event.lease_until, lease_seconds=left, state=order.state
    )
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
        conflicts=True,
    ),
    Route(
        "POST",
        "/v1/heartbeats",
        LAUNCHERS,
        heartbeat,
        "Renew everything that is held",
        max_bytes=128 * 1024,  # 500 holds, with ids of 128 characters
    ),
    Route("GET", "/v1/holds", LAUNCHERS, holds, "List what a launcher is believed to hold"),
)
