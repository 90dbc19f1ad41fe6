"""A pool's machines, and its shortfall, in the contract's terms."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Self

from functions.apis.capacity.wire import CapacityAnswer, account_id
from functions.engine.pool_status import PoolStatus
from shared.domain.spec import Attestation


class PoolView(CapacityAnswer):
    """`account_id`, `in_flight` and `surplus` are additions to the contract.

    `in_flight` counts machines that are ordered and do not run yet. `surplus` counts machines above the target that
    cannot be stopped, because their launchers send no heartbeats.
    """

    account_id: str | None
    datacenter: str
    node_size: str
    min_count: int
    eligible_count: int
    shortfall: int
    eligible_agent_ids: tuple[str, ...]
    in_flight: int
    surplus: int

    @classmethod
    def of(cls, status: PoolStatus) -> Self:
        return cls(
            account_id=account_id(status.pool.account),
            datacenter=status.pool.datacenter,
            node_size=status.pool.node_size,
            min_count=status.goal.count,
            eligible_count=len(status.eligible),
            shortfall=status.shortfall,
            eligible_agent_ids=tuple(order.agent for order in status.eligible if order.agent),
            in_flight=status.in_flight,
            surplus=status.surplus,
        )


class Dispatch(CapacityAnswer):
    """What the control plane did about a shortfall. `status_code` is 202 if orders are in flight."""

    datacenter: str
    node_size: str
    requested_count: int
    dispatched: bool
    status_code: int
    detail: str

    @classmethod
    def of(cls, status: PoolStatus) -> Self:
        flying = status.in_flight > 0
        running = "All machines of the pool run, and some are not eligible yet"
        return cls(
            datacenter=status.pool.datacenter,
            node_size=status.pool.node_size,
            requested_count=status.shortfall,
            dispatched=flying,
            status_code=HTTPStatus.ACCEPTED if flying else HTTPStatus.OK,
            detail=f"{status.in_flight} launch orders in flight" if flying else running,
        )


class Reconciled(CapacityAnswer):
    """`eligible` is true if no pool has a shortfall."""

    eligible: bool
    total_shortfall: int
    targets: tuple[PoolView, ...]
    dispatches: tuple[Dispatch, ...]

    @classmethod
    def of(cls, statuses: Sequence[PoolStatus], dispatched: bool) -> Self:
        return cls(
            eligible=not any(status.shortfall for status in statuses),
            total_shortfall=sum(status.shortfall for status in statuses),
            targets=tuple(PoolView.of(status) for status in statuses),
            dispatches=tuple(Dispatch.of(status) for status in statuses if dispatched and status.shortfall),
        )


class PoolTarget(CapacityAnswer):
    """A pool's target, and the machines that it has."""

    account_id: str | None
    datacenter: str
    node_size: str
    min_warm_count: int
    enabled: bool
    require_verified: bool
    require_healthy: bool
    require_hostname: bool
    dispatch: bool
    reason: str
    attestation: Attestation
    created_at: datetime
    updated_at: datetime
    eligible_agents: int
    open_reservations: int
    shortfall: int
    surplus: int

    @classmethod
    def of(cls, status: PoolStatus) -> Self:
        pool = status.pool
        return cls(
            account_id=account_id(pool.account),
            datacenter=pool.datacenter,
            node_size=pool.node_size,
            min_warm_count=pool.min_warm_count,
            enabled=pool.enabled,
            require_verified=pool.require_verified,
            require_healthy=pool.require_healthy,
            require_hostname=pool.require_hostname,
            dispatch=pool.dispatch,
            reason=pool.reason,
            attestation=pool.attestation,
            created_at=pool.created_at,
            updated_at=pool.updated_at,
            eligible_agents=len(status.eligible),
            open_reservations=status.in_flight,
            shortfall=status.shortfall,
            surplus=status.surplus,
        )
