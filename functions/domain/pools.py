"""Pools: how many machines of a size a datacenter should have, and which orders provide them.

A pool has slots, and each slot has one order at a time. An order counts until it ends, whether or not its machine's
agent has registered, so that no machine is ordered twice.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from functions.domain import request_ids
from functions.domain.limits import OrderLimits
from functions.domain.order import Order, place
from functions.domain.timing import backoff
from shared.domain.order import State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize

MAX_MACHINES: Final = 200
"""The limit of one pool."""
LIMITS: Final = OrderLimits(boot_seconds=1800)
"""The boot limit of a pool's orders: a cloud may take long."""
MIN_SETTLED_RUN: Final = timedelta(minutes=10)
"""If an order ran for this long before it failed, its failure does not count as one in a row."""
MONTHLY_USD: Final[Mapping[NodeSize, float]] = {NodeSize.TINY: 25.0, NodeSize.STANDARD: 100.0, NodeSize.LLM: 500.0}
IN_FLIGHT: Final = frozenset({State.QUEUED, State.CLAIMED, State.PROVISIONING})
RELEASED_FIRST: Final = (State.QUEUED, State.CLAIMED, State.PROVISIONING, State.RUNNING)
"""The sequence in which surplus orders are released: queued ones first, running ones last."""

Orders = Mapping[str, Order]
"""Orders by id. If a member's order is missing here, it has not been created yet."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a pool (`place` is its number) and its current order, whose id depends on slot and generation."""

    order_id: str
    place: int
    generation: int = 1
    failures: int = 0
    """The number of its orders that failed in a row."""
    released: bool = False
    """True if the pool no longer needs the slot. The slot stays until its order has ended."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Stored under its id, which is derived from account, datacenter and size. `account` is NOBODY for the operator."""

    id: str
    account: str
    datacenter: str
    node_size: str
    min_warm_count: int
    reason: str
    created_at: datetime
    updated_at: datetime
    enabled: bool = True
    dispatch: bool = False
    require_verified: bool = True
    require_healthy: bool = True
    require_hostname: bool = True
    attestation: Attestation = Attestation.OPTIONAL
    standing: bool = True
    """Whether the pool has a target. If not, it was filled without one, or its target was removed."""
    places: int = 0
    """The highest slot number so far. No number is used twice, and so no order's id is."""
    members: tuple[Slot, ...] = ()

    @property
    def managed(self) -> bool:
        """Return whether the sweep keeps the pool at its target."""
        return self.standing and self.enabled and self.dispatch


def revised(pool: Pool, now: datetime, **changes: Any) -> Pool:
    """Return the pool with these fields changed; the same object if nothing changes."""
    changed = replace(pool, **changes)
    return pool if changed == pool else replace(changed, updated_at=now)


def given_up(pool: Pool, now: datetime) -> Pool:
    """Return the pool without its target, and with all its slots released."""
    members = tuple(replace(member, released=True) for member in pool.members)
    return revised(pool, now, standing=False, enabled=False, dispatch=False, min_warm_count=0, members=members)


def plan(pool: Pool, orders: Orders, at_least: int = 0) -> Pool:
    """Return the pool with the slots that it should have: `at_least` this number, and as many as its target.

    If a slot's order has ended, the slot gets its next order or is removed. Only a managed pool releases its surplus.
    """
    ended = [member for member in pool.members if _ended(member, orders)]
    present = [member for member in pool.members if not _ended(member, orders)]
    staying = [member for member in present if stays(member, orders)]
    target = max(at_least, pool.min_warm_count if pool.managed else 0)
    missing = max(target - len(staying), 0)
    renewed = [
        _member(pool, member.place, member.generation + 1, _failures(member, orders[member.order_id]))
        for member in ended[:missing]
    ]
    added = [_member(pool, pool.places + nth) for nth in range(1, missing - len(renewed) + 1)]
    surplus = _surplus(staying, orders, len(staying) - target) if pool.managed else set()
    kept = [replace(member, released=True) if member.order_id in surplus else member for member in present]
    members = sorted([*kept, *renewed, *added], key=lambda member: member.place)
    return replace(pool, members=tuple(members), places=pool.places + len(added))


def passed_over(pool: Pool, order_id: str) -> Pool:
    """Return the pool with the next order in the slot of this order, which was removed before the pool noticed its end.

    If the slot was released, it is removed instead.
    """
    members = tuple(
        _member(pool, member.place, member.generation + 1, member.failures) if member.order_id == order_id else member
        for member in pool.members
        if not (member.order_id == order_id and member.released)
    )
    return replace(pool, members=members)


def order_for(pool: Pool, member: Slot, now: datetime) -> Order:
    """Return a new order for this slot. After each failure in a row, it waits longer before it can be claimed."""
    spec = CapacitySpec(
        datacenter=pool.datacenter,
        node_size=NodeSize(pool.node_size),
        attestation=pool.attestation,
        purpose=pool.reason,
    )
    spread = zlib.crc32(member.order_id.encode()) / (1 << 32)
    not_before = now + backoff(member.failures, spread) if member.failures else None
    return place(member.order_id, pool.account, spec, now, LIMITS, not_before)


def stays(member: Slot, orders: Orders) -> bool:
    """Return whether the slot counts towards the target. A slot that is being released does not, unless its machine
    cannot be stopped.
    """
    order = orders.get(member.order_id)
    if order is None:
        return not member.released
    if order.final or order.cancel_requested_at is not None:
        return False
    return not member.released or not order.attended


def machines_asked(pool: Pool) -> int:
    """Return the number of machines that the pool is to have."""
    slots = sum(not member.released for member in pool.members)
    return max(slots, pool.min_warm_count if pool.managed else 0)


def machines_of(pools: Sequence[Pool], open_orders: int) -> int:
    """Return the number of machines that an account with these pools has ordered, or that its pools are to have.

    `open_orders` is the number of its capacity orders that have not ended, those of its pools included. A released slot
    counts until its order has ended.
    """
    slots = sum(len(pool.members) for pool in pools)
    released = sum(member.released for pool in pools for member in pool.members)
    return sum(map(machines_asked, pools)) + released + max(open_orders - slots, 0)


def _ended(member: Slot, orders: Orders) -> bool:
    return member.order_id in orders and orders[member.order_id].final


def _surplus(staying: Sequence[Slot], orders: Orders, count: int) -> set[str]:
    """Return at most `count` members to release. Within a state, the youngest slots come first."""

    def sequence(member: Slot) -> tuple[int, int]:
        order = orders.get(member.order_id)
        return RELEASED_FIRST.index(order.state) if order else 0, -member.place

    stoppable = [one for one in staying if one.order_id not in orders or orders[one.order_id].attended]
    return {member.order_id for member in sorted(stoppable, key=sequence)[: max(count, 0)]}


def _failures(member: Slot, ended: Order) -> int:
    if ended.state is not State.FAILED:
        return 0
    ran_from = ended.entered.get(State.RUNNING)
    settled = ran_from is not None and ended.updated_at - ran_from >= MIN_SETTLED_RUN
    return 1 if settled else member.failures + 1


def _member(pool: Pool, number: int, generation: int = 1, failures: int = 0) -> Slot:
    return Slot(request_ids.pool_order(pool.id, number, generation), number, generation, failures)
