"""Batches: exports that a client orders with one request."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from functions.domain.limits import OrderLimits
from functions.domain.order import RING_GRACE, Order, place
from shared.domain.spec import ExportOptions, ExportSpec

MAX_TASKS: Final = 500
"""The limit of one batch. Its record must fit into one document of the store (1 MiB)."""
CHECK_INTERVAL: Final = timedelta(days=1)
"""The time between two checks by the sweep of a batch whose orders have all been created."""
BATCH_TTL: Final = timedelta(days=7)
"""How long a batch is remembered after its last order has ended."""


@dataclass(frozen=True, slots=True)
class BatchMember:
    """One export of a batch, and the id of its order."""

    order_id: str
    pi: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Stored under its id. `fingerprint` is the SHA-256 of the client's request."""

    id: str
    account: str
    options: ExportOptions
    image: str | None
    region: str | None
    limits: OrderLimits
    members: tuple[BatchMember, ...]
    fingerprint: str
    created_at: datetime
    due_at: datetime
    """When the sweep must look at it next."""
    complete: bool = False
    """Whether every order has been created. One that is missing after that was removed."""

    @property
    def order_ids(self) -> list[str]:
        return [member.order_id for member in self.members]


def first_check(created_at: datetime) -> datetime:
    """Return when the sweep must look at a new batch, in case its request died before it created every order."""
    return created_at + RING_GRACE


def order_of(batch: Batch, order_id: str, now: datetime) -> Order:
    """Return a new order for this member of the batch."""
    pi = next(member.pi for member in batch.members if member.order_id == order_id)
    spec = ExportSpec(pi=pi, options=batch.options, image=batch.image, region=batch.region, batch=batch.id)
    return place(order_id, batch.account, spec, now, batch.limits)


def forgettable(batch: Batch, orders: Mapping[str, Order], now: datetime) -> bool:
    """Return whether all of the batch's orders ended long ago, or were removed."""
    if not batch.complete or any(not order.final for order in orders.values()):
        return False
    ended_at = max((order.updated_at for order in orders.values()), default=batch.created_at)
    return now - ended_at >= BATCH_TTL
