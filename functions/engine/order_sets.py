"""Creates the orders that a record names and that do not exist yet, and cancels those that the record has released.

The record is written first, and names each order by its id. After an interruption, the next run continues from the
record. Two runs at the same time create each order once, because both create it under that id.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from functions.domain.events import Cancel
from functions.domain.order import Order
from functions.domain.refusals import Gone, NotFound, OtherVersion, WrongState
from functions.engine.concurrency import run_all
from functions.ports.orders import IdempotencyKey, OrderStore, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import State

TIME_BUDGET: Final = 20.0
"""Seconds that one run spends on creates or cancellations; the next run continues from there."""


@dataclass(frozen=True, slots=True)
class OrderSet:
    """A record's orders by id, as they were last read, and the numbers of created and released ones."""

    orders: Mapping[str, Order] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    """Orders that another version wrote. They exist, and instances of that version handle them."""
    created: int = 0
    released: int = 0

    def missing(self, order_ids: Collection[str]) -> list[str]:
        """Return those of these orders that do not exist yet."""
        return [order_id for order_id in order_ids if order_id not in {*self.orders, *self.unreadable}]


@dataclass(frozen=True, slots=True)
class NamedOrder:
    """An order to create. `key` must be derived from the order's id. `claimable` is False if the record has already
    released the order: it is then created and cancelled, because another run may be about to create it.
    """

    order: Order
    key: IdempotencyKey
    claimable: bool = True


@dataclass(frozen=True, slots=True)
class OrderSets:
    """`ring` publishes the bell of an order that may be claimed."""

    store: OrderStore
    ring: Callable[[Snapshot], None]
    clock: Callable[[], datetime]

    def read(self, order_ids: Collection[str]) -> OrderSet:
        """Read those of these orders that exist. Raises Unavailable."""
        found = self.store.get_many(order_ids) if order_ids else {}
        orders = {order_id: seen.order for order_id, seen in found.items() if isinstance(seen, Snapshot)}
        return OrderSet(orders, frozenset(found.keys() - orders.keys()))

    def create(
        self,
        seen: OrderSet,
        order_ids: Sequence[str],
        make: Callable[[str], NamedOrder],
        removed: Callable[[str], object],
    ) -> OrderSet:
        """Create these orders with `make`, and return the set that includes them.

        `removed` is called with the id of an order that existed and was removed. A failure of one order does not affect
        others.
        """

        def create_one(order_id: str) -> Order | None:
            one = make(order_id)
            try:
                created = self.store.create(one.order, one.key)
            except Gone:
                removed(order_id)
                return None
            reach(Point.SET_CREATED)
            if created.order.state is State.QUEUED and one.claimable:
                self.ring(created)
            return created.order

        created = [order for order in run_all(create_one, order_ids, TIME_BUDGET) if order is not None]
        orders = {**seen.orders, **{order.id: order for order in created}}
        return replace(seen, orders=orders, created=seen.created + len(created))

    def release(self, seen: OrderSet, order_ids: Collection[str], request_id: str) -> OrderSet:
        """Cancel these orders under one request id, and return the set after that."""

        def release_one(order_id: str) -> Order | None:
            try:
                order = self.store.apply(order_id, Cancel(request_id), self.clock())
            except (WrongState, NotFound, OtherVersion):
                return None  # the order has just ended, or another version holds it
            reach(Point.SET_RELEASED)
            return order

        open_ = [
            order_id
            for order_id in order_ids
            if (order := seen.orders.get(order_id)) is not None
            and not order.final
            and order.cancel_requested_at is None
        ]
        released = [order for order in run_all(release_one, open_, TIME_BUDGET) if order is not None]
        orders = {**seen.orders, **{order.id: order for order in released}}
        return replace(seen, orders=orders, released=seen.released + len(released))
