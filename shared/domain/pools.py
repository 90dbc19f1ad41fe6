"""Pools: how many machines of a size a datacenter is to have, and which orders stand for them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Member:
    """One place in a pool: the order that stands for it now. Its id follows from pool, place and generation."""

    order_id: str
    generation: int = 1
    failures: int = 0
    """How many of its orders failed one after the other."""


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
    members: tuple[Member, ...] = ()
