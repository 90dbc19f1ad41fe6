"""A pool's goal, and its status against the goal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from functions.domain.eligibility import Demands
from functions.domain.order import Order
from functions.domain.pools import IN_FLIGHT, Pool, stays
from functions.engine.order_sets import OrderSet


@dataclass(frozen=True, slots=True)
class Goal:
    """The number of machines that a pool should have, and which of them count. The pool may be unsaved."""

    pool: Pool
    count: int
    demands: Demands

    @classmethod
    def of(cls, pool: Pool) -> Self:
        return cls(pool, pool.min_warm_count, Demands(pool.require_verified, pool.require_healthy))


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool and its orders. `eligible` has the orders whose machines meet the goal's demands."""

    goal: Goal
    orders: OrderSet
    eligible: Sequence[Order] = ()

    @property
    def pool(self) -> Pool:
        return self.goal.pool

    @property
    def shortfall(self) -> int:
        return max(self.goal.count - len(self.eligible), 0)

    @property
    def counted(self) -> Sequence[Order]:
        """Return the created orders whose machines count towards the target."""
        return [self.orders.orders[order_id] for order_id in self._counted if order_id in self.orders.orders]

    @property
    def in_flight(self) -> int:
        """Return the number of machines that are ordered and do not run yet."""
        running = {order.id for order in self.counted if order.state not in IN_FLIGHT}
        return len([order_id for order_id in self._counted if order_id not in running])

    @property
    def surplus(self) -> int:
        """Return the number of machines above the target that cannot be stopped, because their launchers send no
        heartbeats.
        """
        return max(len(self._counted) - self.pool.min_warm_count, 0) if self.pool.managed else 0

    @property
    def _counted(self) -> Sequence[str]:
        return [member.order_id for member in self.pool.members if stays(member, self.orders.orders)]
