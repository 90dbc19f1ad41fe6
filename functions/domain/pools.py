"""Pools: how many machines of a size a datacenter is to have, and which orders stand for them.

A pool has places, and each place one order at a time. Orders that have ended count no more; those that wait, are on
their way or run do, whether or not their machine has told of itself: it has been ordered, and is not ordered again.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from functions.domain.limits import Limits
from functions.domain.order import Order, place
from functions.domain.timing import backoff
from shared.domain.order import State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize

POOLS: Final = UUID("f2b4c8a8-0c55-4f6e-9a53-5b3c5a2d7f10")
"""The namespace of the ids of pools, and, with theirs, of their orders."""
MOST_MACHINES: Final = 200
"""Of one pool."""
LIMITS: Final = Limits(boot_seconds=1800)
"""Of a pool's orders: a cloud may take its time."""
SETTLED: Final = timedelta(minutes=10)
"""One that ran so long before it failed did not fail for the reason that the one before it did."""
MONTHLY_USD: Final[Mapping[NodeSize, float]] = {NodeSize.TINY: 25.0, NodeSize.STANDARD: 100.0, NodeSize.LLM: 500.0}
IN_FLIGHT: Final = frozenset({State.QUEUED, State.CLAIMED, State.PROVISIONING})
EASIEST: Final = (State.QUEUED, State.CLAIMED, State.PROVISIONING, State.RUNNING)
"""In which order surplus orders are given up: what waits first, what runs last."""

Orders = Mapping[str, Order]
"""By id. A member's that is not among them has not been created yet."""


@dataclass(frozen=True, slots=True)
class Member:
    """One place in a pool: the order that stands for it now. Its id follows from pool, place and generation."""

    order_id: str
    place: int
    generation: int = 1
    failures: int = 0
    """How many of its orders failed one after the other."""
    released: bool = False
    """Whether the pool has no more use for it. It stays until its order has ended."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Kept under its id, which follows from account, datacenter and size. `account` NOBODY is the operator."""

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
    """Whether somebody set it as a target; else it was filled once, or its target was removed."""
    places: int = 0
    """How many places it ever had: no number is given twice, and so no order's id."""
    members: tuple[Member, ...] = ()

    @property
    def managed(self) -> bool:
        """Whether it is kept at its count by itself."""
        return self.standing and self.enabled and self.dispatch


def pool_id(account: str, datacenter: str, node_size: str) -> str:
    return str(uuid5(POOLS, f"{account}\n{datacenter}\n{node_size}"))


def revised(pool: Pool, now: datetime, **changes: Any) -> Pool:
    """Return the pool with these fields changed; the same object where that changes nothing."""
    changed = replace(pool, **changes)
    return pool if changed == pool else replace(changed, updated_at=now)


def given_up(pool: Pool, now: datetime) -> Pool:
    """Return the pool without its target, all its places released."""
    members = tuple(replace(member, released=True) for member in pool.members)
    return revised(pool, now, standing=False, enabled=False, dispatch=False, min_warm_count=0, members=members)


def plan(pool: Pool, orders: Orders, at_least: int = 0) -> Pool:
    """Return the pool with the members it is to have: `at_least` so many, and as many as its target says.

    Places whose order has ended get the next one, or are given up; only a managed pool releases what it has too much.
    """
    ended = [member for member in pool.members if _ended(member, orders)]
    present = [member for member in pool.members if not _ended(member, orders)]
    staying = [member for member in present if stays(member, orders)]
    wanted = max(at_least, pool.min_warm_count if pool.managed else 0)
    missing = max(wanted - len(staying), 0)
    renewed = [_renewed(pool, member, orders[member.order_id]) for member in ended[:missing]]
    added = [_member(pool, pool.places + nth) for nth in range(1, missing - len(renewed) + 1)]
    surplus = _surplus(staying, orders, len(staying) - wanted) if pool.managed else set()
    kept = [replace(member, released=True) if member.order_id in surplus else member for member in present]
    members = sorted([*kept, *renewed, *added], key=lambda member: member.place)
    return replace(pool, members=tuple(members), places=pool.places + len(added))


def passed_over(pool: Pool, order_id: str) -> Pool:
    """Return the pool with the next order for the place of this one, which was removed before it was seen to end.

    A place that was released needs none: it is given up.
    """
    members = tuple(
        _member(pool, member.place, member.generation + 1, member.failures) if member.order_id == order_id else member
        for member in pool.members
        if not (member.order_id == order_id and member.released)
    )
    return replace(pool, members=members)


def order_for(pool: Pool, member: Member, now: datetime) -> Order:
    """Return the order that stands for this place; after failures it waits, longer each time."""
    spec = CapacitySpec(
        datacenter=pool.datacenter,
        node_size=NodeSize(pool.node_size),
        attestation=pool.attestation,
        purpose=pool.reason,
    )
    spread = zlib.crc32(member.order_id.encode()) / (1 << 32)
    not_before = now + backoff(member.failures, spread) if member.failures else None
    return place(member.order_id, pool.account, spec, now, LIMITS, not_before)


def stays(member: Member, orders: Orders) -> bool:
    """Whether the place counts: not where its machine goes; where nobody could stop that, it stays after all."""
    order = orders.get(member.order_id)
    if order is None:
        return not member.released
    if order.final or order.cancel_requested_at is not None:
        return False
    return not member.released or not order.attended


def _ended(member: Member, orders: Orders) -> bool:
    return member.order_id in orders and orders[member.order_id].final


def _surplus(staying: Sequence[Member], orders: Orders, count: int) -> set[str]:
    """Return the orders to release, `count` at most: the easiest first, of those the youngest places."""

    def ease(member: Member) -> tuple[int, int]:
        order = orders.get(member.order_id)
        return EASIEST.index(order.state) if order else 0, -member.place

    stoppable = [one for one in staying if one.order_id not in orders or orders[one.order_id].attended]
    return {member.order_id for member in sorted(stoppable, key=ease)[: max(count, 0)]}


def _renewed(pool: Pool, member: Member, ended: Order) -> Member:
    return _member(pool, member.place, member.generation + 1, _failures(member, ended))


def _failures(member: Member, ended: Order) -> int:
    if ended.state is not State.FAILED:
        return 0
    ran_from = ended.entered.get(State.RUNNING)
    settled = ran_from is not None and ended.updated_at - ran_from >= SETTLED
    return 1 if settled else member.failures + 1


def _member(pool: Pool, number: int, generation: int = 1, failures: int = 0) -> Member:
    order_id = str(uuid5(UUID(pool.id), f"{number}/{generation}"))
    return Member(order_id, number, generation, failures)
