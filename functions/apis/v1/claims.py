"""For launchers: claim an order by the id from a bell, or the next order that fits."""

from typing import Final

from structlog.contextvars import bind_contextvars

from functions.domain import request_ids
from functions.domain.access import Role, narrowed
from functions.domain.holder import holder_of
from functions.domain.refusals import Forbidden
from functions.engine.claims import Claimant, Claims
from functions.engine.credentials import CallbackTokens
from functions.http.authentication import Principal
from functions.http.presence import Present
from functions.http.routing import Route
from functions.ports.clock import Clock
from shared.wire.launchers import ClaimAnswer, ClaimById, Claimed, ClaimRequest


def claim(
    body: ClaimRequest, launcher: Principal, claims: Claims, tokens: CallbackTokens, clock: Clock, present: Present
) -> ClaimAnswer:
    """`claimed` is null if no order fits. A claim by id may bring another order of the same lane, whose turn it is."""
    holder = holder_of(launcher.account, body.launcher, launcher.identity)
    lanes = narrowed(body.lanes, launcher.datacenters)
    if not lanes:
        raise Forbidden(
            f"This key is limited to {', '.join(launcher.datacenters)}. Request lanes in these datacenters."
        )
    claimant = Claimant(holder, request_ids.of_launcher(holder, body.request_id), lanes, body.attended)
    if isinstance(body, ClaimById):
        order = claims.by_id(body.order_id, claimant)
    else:
        order = claims.next(claimant, body.wait_seconds, present)
    if order is None or order.lease is None:
        return ClaimAnswer(claimed=None)
    bind_contextvars(order_id=order.id)
    claimed = Claimed(
        order_id=order.id,
        epoch=order.epoch,
        lease_until=order.lease.until,
        lease_seconds=(order.lease.until - clock()).total_seconds(),
        spec=order.spec,
        callback_token=tokens.issue(order.id, order.epoch),
    )
    return ClaimAnswer(claimed=claimed)


ROUTES: Final = (
    Route(
        "POST",
        "/v1/claims",
        frozenset({Role.LAUNCHER}),
        claim,
        "Claim an order",
        conflicts=True,
    ),
)
