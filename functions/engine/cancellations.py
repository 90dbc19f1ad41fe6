"""Cancels orders for clients."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from functions.domain import request_ids
from functions.domain.events import Cancel
from functions.domain.order import Order
from functions.engine.orders import require_owned
from functions.ports.orders import OrderStore
from shared.crash_points import Point, reach
from shared.domain.order import State


@dataclass(frozen=True, slots=True)
class Cancellations:
    """`after_end` is called with an order that has ended, also by a repeat."""

    store: OrderStore
    clock: Callable[[], datetime]
    after_end: Callable[[Order], object]

    def cancel(self, order_id: str, owner: str | None) -> Order:
        """Cancel a queued order; for a held one, store the request, which its launcher gets with its next heartbeat.

        `owner` is the caller's account, or None for an operator. Raises NotFound, WrongState.
        """
        seen = require_owned(self.store, order_id, owner)
        order = seen.order
        if order.cancel_requested_at is None and order.state is not State.CANCELLED:
            order = self.store.apply(order_id, Cancel(request_ids.cancel_by_client()), self.clock(), seen)
            reach(Point.CANCEL_STORED)
        if order.final:
            self.after_end(order)
        return order
