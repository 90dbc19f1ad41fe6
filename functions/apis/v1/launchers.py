"""For launchers: report on an order, and renew the leases of all held orders with one heartbeat."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from functions.apis.v1.views import order_view
from functions.domain import request_ids
from functions.domain.access import Role
from functions.domain.events import Exit, Fail, Provision, Retry, Return, Start, Stop
from functions.domain.holder import holder_of
from functions.domain.refusals import Invalid
from functions.engine import leases as engine
from functions.engine.environments import Environments
from functions.engine.leases import LauncherReport, Leases
from functions.http.authentication import Principal
from functions.http.routing import Route
from functions.ports.clock import Clock
from shared.domain.order import Failure, Reason
from shared.wire.base import Name
from shared.wire.launchers import (
    AttemptFailed,
    EnvironmentAnswer,
    EnvironmentRequest,
    HeartbeatAnswer,
    HeartbeatRequest,
    HoldsView,
    HoldView,
    MachineGone,
    MachineRunning,
    Provisioning,
    Renewed,
    Returned,
    StopOrder,
    Stopped,
    UpdateRequest,
)
from shared.wire.orders import OrderView

LAUNCHERS: Final = frozenset({Role.LAUNCHER})
CONTROL_PLANE_REASONS: Final = frozenset(
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
"""Reasons that only the control plane gives. A launcher may give any other."""


class HoldsQuery(BaseModel):
    """The query of `GET /v1/holds`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    launcher: Name


def update(body: UpdateRequest, launcher: Principal, leases: Leases, order_id: str) -> OrderView:
    holder = holder_of(launcher.account, body.launcher, launcher.identity)
    request_id = request_ids.of_launcher(holder, body.request_id)
    return order_view(leases.report(order_id, _report(body, holder, request_id)))


def heartbeat(body: HeartbeatRequest, launcher: Principal, leases: Leases, clock: Clock) -> HeartbeatAnswer:
    """If the store did not renew a lease in time, it is in neither list: it stays valid, and the next heartbeat tries
    again.
    """
    holder = holder_of(launcher.account, body.launcher, launcher.identity)
    holds = [engine.LeaseId(hold.order_id, hold.epoch) for hold in body.holds]
    renewals = leases.heartbeat(holder, holds, body.attended)
    now = clock()
    return HeartbeatAnswer(
        renewed=tuple(
            Renewed(
                order_id=renewal.hold.order_id,
                epoch=renewal.hold.epoch,
                lease_until=renewal.until,
                lease_seconds=(renewal.until - now).total_seconds(),
                state=renewal.order.state,
            )
            for renewal in renewals
            if renewal.order is not None and renewal.until is not None
        ),
        stop=tuple(
            StopOrder(order_id=renewal.hold.order_id, epoch=renewal.hold.epoch, why=renewal.stop.value)
            for renewal in renewals
            if renewal.stop is not None
        ),
    )


def list_holds(query: HoldsQuery, launcher: Principal, leases: Leases) -> HoldsView:
    held = leases.held_by(holder_of(launcher.account, query.launcher, launcher.identity))
    return HoldsView(holds=tuple(HoldView(order_id=one.id, epoch=one.epoch, state=one.state) for one in held))


def environment(
    body: EnvironmentRequest, launcher: Principal, environments: Environments, order_id: str
) -> EnvironmentAnswer:
    holder = holder_of(launcher.account, body.launcher, launcher.identity)
    made = environments.for_launcher(order_id, body.epoch, holder)
    return EnvironmentAnswer(variables=made.variables, arguments=made.arguments)


def _report(body: UpdateRequest, holder: str, request_id: str) -> LauncherReport:
    """Return the reported event. Raises Invalid if a launcher cannot give this reason."""
    match body:
        case Provisioning():
            return Provision(request_id, body.epoch, holder, body.vm)
        case MachineRunning():
            return Start(request_id, body.epoch, launcher=holder)
        case MachineGone():
            return Exit(request_id, body.epoch, holder, body.message, body.exit_code)
        case Returned():
            return Return(request_id, body.epoch, holder, Reason.RETURNED, body.message)
        case Stopped():
            return Stop(request_id, body.epoch, holder)
        case AttemptFailed():
            if body.reason in CONTROL_PLANE_REASONS:
                wrong = {"reason": "Only the control plane gives this reason"}
                raise Invalid("Some fields of the body are wrong.", wrong)
            if body.failure is Failure.NO_CAPACITY:
                return Return(request_id, body.epoch, holder, body.reason, body.message)
            event = Retry if body.failure is Failure.RETRYABLE else Fail
            return event(request_id, body.epoch, body.reason, body.message, holder)


ROUTES: Final = (
    Route(
        "POST",
        "/v1/updates/{order_id}",
        LAUNCHERS,
        update,
        "Report on an order that the launcher holds",
        conflicts=True,
    ),
    Route(
        "POST",
        "/v1/heartbeats",
        LAUNCHERS,
        heartbeat,
        "Renew the leases of all orders that the launcher holds",
        max_bytes=128 * 1024,  # 500 holds, with ids of 128 characters
    ),
    Route(
        "POST",
        "/v1/environments/{order_id}",
        LAUNCHERS,
        environment,
        "Get the environment of an image that runs a held order",
        conflicts=True,
    ),
    Route("GET", "/v1/holds", LAUNCHERS, list_holds, "List the orders that the launcher holds"),
)
