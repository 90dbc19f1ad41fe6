"""The capacity contract's wire models that several routes share, and its view of an order."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, StringConstraints

from functions.domain.accounts import NOBODY
from functions.domain.order import Order
from functions.domain.refusals import Invalid
from shared.domain import datacenters
from shared.domain.order import Reason, State
from shared.domain.spec import EVERY, CapacitySpec, NodeSize, OrderKind

CONTROLLER: Final = "capacity-pool-controller"
"""The reason of orders that state none."""
WRONG_SIZE: Final = f"Invalid node_size. Expected one of: {', '.join(NodeSize)}"
REQUEUED: Final = "claim expired and was re-queued"
EXPIRED_CLAIM: Final = frozenset({Reason.LEASE_LAPSED, Reason.BOOT_TIMEOUT})

Short = Annotated[str, StringConstraints(max_length=150)]
"""A name, or a filter of a list. Two of them make a lane, and Firestore compares with values of at most 1,500 bytes
(https://firebase.google.com/docs/firestore/quotas). The longest name of a datacenter has 129 characters.
"""
Why = Annotated[str, StringConstraints(max_length=200)]


class Lenient(BaseModel):
    """A request: unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CapacityAnswer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CapacityStatus(StrEnum):
    OPEN = "open"
    CLAIMED = "claimed"
    PROVISIONING = "provisioning"
    FULFILLED = "fulfilled"
    FAILED = "failed"


STATUS_OF: Final[Mapping[State, CapacityStatus]] = {
    State.QUEUED: CapacityStatus.OPEN,
    State.CLAIMED: CapacityStatus.CLAIMED,
    State.PROVISIONING: CapacityStatus.PROVISIONING,
    State.RUNNING: CapacityStatus.FULFILLED,
    State.SUCCEEDED: CapacityStatus.FULFILLED,  # its machine was released later
    State.FAILED: CapacityStatus.FAILED,
    State.CANCELLED: CapacityStatus.FAILED,
    State.EXPIRED: CapacityStatus.FAILED,
}
LEASED: Final = frozenset({CapacityStatus.CLAIMED, CapacityStatus.PROVISIONING})


class CapacityOrder(CapacityAnswer):
    """An order in the contract's terms."""

    order_id: str
    datacenter: str
    node_size: str
    status: CapacityStatus
    reason: str
    requested_count: int = 1
    account_id: str | None
    claimed_by_account_id: str | None
    claim_expires_at: datetime | None
    claimed_at: datetime | None
    fulfilled_at: datetime | None
    vm_name: str | None
    error: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, order: Order) -> Self:
        spec, status = spec_of(order), STATUS_OF[order.state]
        held = status is not CapacityStatus.OPEN
        return cls(
            order_id=order.id,
            datacenter=spec.datacenter,
            node_size=spec.node_size,
            status=status,
            reason=spec.purpose or CONTROLLER,
            account_id=account_id(order.account),
            claimed_by_account_id=order.claimed_by.rpartition("/")[0] if order.claimed_by else None,
            claim_expires_at=order.lease.until if order.lease and status in LEASED else None,
            claimed_at=order.entered.get(State.CLAIMED) if held else None,
            fulfilled_at=_ended_at(order, status),
            vm_name=order.vm if held else None,
            error=_error(order, status),
            created_at=order.created_at,
            updated_at=order.updated_at,
        )


def spec_of(order: Order) -> CapacitySpec:
    """Return the spec of a capacity order. Raises TypeError for an order of another kind."""
    if not isinstance(order.spec, CapacitySpec):
        raise TypeError(f"{order.id} is a {order.kind} order, not a capacity order")
    return order.spec


def account_id(account: str) -> str | None:
    """Return the account's id in the contract's terms: None for the operator's own orders."""
    return None if account == NOBODY else account


def lane_of(datacenter: str, node_size: str) -> str:
    """Return the lane for a datacenter and size; an empty one stands for any."""
    return "/".join((datacenter or EVERY, OrderKind.CAPACITY, *([node_size] if node_size else [])))


def parse_size(text: str) -> NodeSize:
    """Return the node size with this name. Raises ValueError."""
    named = text.strip().lower()
    if named not in set(NodeSize):
        raise ValueError(WRONG_SIZE)
    return NodeSize(named)


def parse_pool(datacenter: str, node_size: str, optional: bool = False) -> tuple[str, str]:
    """Return a datacenter and size in canonical form. If `optional`, either may be empty, for any. Raises Invalid.

    Only a filter may leave out the size: an order without one would always fail.
    """
    try:
        return (
            "" if optional and not datacenter.strip() else datacenters.parse(datacenter),
            "" if optional and not node_size.strip() else parse_size(node_size),
        )
    except ValueError as error:
        raise Invalid(str(error)) from None


def _ended_at(order: Order, status: CapacityStatus) -> datetime | None:
    """Return when the order was fulfilled (even if its machine was released later), or when it failed."""
    match status:
        case CapacityStatus.FULFILLED:
            return order.entered.get(State.RUNNING) or order.entered.get(order.state)
        case CapacityStatus.FAILED:
            return order.entered.get(order.state)
        case _:
            return None


def _error(order: Order, status: CapacityStatus) -> str | None:
    if status is CapacityStatus.OPEN and order.reason in EXPIRED_CLAIM:
        return REQUEUED
    return order.message or (order.reason if status is CapacityStatus.FAILED else None)
