"""The capacity contract's words on the wire, and how an order of the engine is told in them."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, StringConstraints

from functions.domain.accounts import NOBODY
from functions.domain.order import Order
from shared.domain.order import Reason, State
from shared.domain.spec import EVERY, CapacitySpec, NodeSize, OrderKind

CONTROLLER: Final = "capacity-pool-controller"
"""Why an order was placed that says nothing of it."""
REQUEUED: Final = "claim expired and was re-queued"
UNHEARD: Final = frozenset({Reason.LEASE_LAPSED, Reason.BOOT_TIMEOUT})


Short = Annotated[str, StringConstraints(max_length=150)]
"""A name, or what a list is filtered by. A lane has two of them, and Firestore compares with values of at most 1,500
bytes (https://firebase.google.com/docs/firestore/quotas). The longest name of a datacenter has 129 characters."""
Why = Annotated[str, StringConstraints(max_length=200)]


class Lenient(BaseModel):
    """What is sent: fields that we do not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(StrEnum):
    OPEN = "open"
    CLAIMED = "claimed"
    PROVISIONING = "provisioning"
    FULFILLED = "fulfilled"
    FAILED = "failed"


STATUS_OF: Final[Mapping[State, Status]] = {
    State.QUEUED: Status.OPEN,
    State.CLAIMED: Status.CLAIMED,
    State.PROVISIONING: Status.PROVISIONING,
    State.RUNNING: Status.FULFILLED,
    State.SUCCEEDED: Status.FULFILLED,  # its machine was given back since
    State.FAILED: Status.FAILED,
    State.CANCELLED: Status.FAILED,
    State.EXPIRED: Status.FAILED,
}
LEASED: Final = frozenset({Status.CLAIMED, Status.PROVISIONING})


class CapacityOrder(Answer):
    """An order in the contract's words."""

    order_id: str
    datacenter: str
    node_size: str
    status: Status
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
        held = status is not Status.OPEN
        return cls(
            order_id=order.id,
            datacenter=spec.datacenter,
            node_size=spec.node_size,
            status=status,
            reason=spec.purpose or CONTROLLER,
            account_id=None if order.account == NOBODY else order.account,
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
    """Return what a capacity order asks for; no other is ever told in these words."""
    if not isinstance(order.spec, CapacitySpec):
        raise TypeError(f"{order.id} is no capacity order, but a {order.kind} order")
    return order.spec


def lane_of(datacenter: str, node_size: str) -> str:
    """Return the lane of the orders of a datacenter and size, each of which may be empty for any."""
    return "/".join((datacenter or EVERY, OrderKind.CAPACITY, *([node_size] if node_size else [])))


def size_of(text: str) -> NodeSize | None:
    """Return the size that a text means, None for an empty one. Raises ValueError."""
    named = text.strip().lower()
    return NodeSize(named) if named else None


def _ended_at(order: Order, status: Status) -> datetime | None:
    """The contract sets it at either end, and it stays the time of fulfilment when the machine is given back."""
    match status:
        case Status.FULFILLED:
            return order.entered.get(State.RUNNING) or order.entered.get(order.state)
        case Status.FAILED:
            return order.entered.get(order.state)
        case _:
            return None


def _error(order: Order, status: Status) -> str | None:
    if status is Status.OPEN and order.reason in UNHEARD:
        return REQUEUED
    return order.message or (order.reason if status is Status.FAILED else None)
