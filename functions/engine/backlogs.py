"""Knows which lanes are behind: there, orders wait although launchers receive bells."""

from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from cachetools import LRUCache

from functions.domain.order import Order
from functions.ports.orders import OrderStore
from shared.domain.order import State

BEHIND_AFTER: Final = timedelta(seconds=5)
"""A lane is behind if an order has waited in it for longer. It is checked as often, with a read of one order."""
MAX_LANES: Final = 1024
"""The number of lanes of which a process remembers whether they are behind."""


class Backlogs:
    """Shared by all claims of a process."""

    def __init__(self, store: OrderStore) -> None:
        self._store = store
        self._lock = Lock()
        self._read: LRUCache[str, tuple[datetime, bool]] = LRUCache(MAX_LANES)

    def may_be_next(self, order: Order, now: datetime) -> bool:
        """Return whether this order can be claimed without passing one that has waited for long. Raises Unavailable."""
        if order.state is not State.QUEUED or not order.available_at <= now < order.expires_at:
            return False
        return now - order.available_at <= BEHIND_AFTER and not self._is_behind(order.lane, now)

    def _is_behind(self, lane: str, now: datetime) -> bool:
        with self._lock:
            read_at, behind = self._read.get(lane, (None, False))
        if read_at is not None and now - read_at < BEHIND_AFTER:
            return behind
        oldest = self._store.claimable([lane], now, 1)
        behind = any(now - one.order.available_at > BEHIND_AFTER for one in oldest)
        with self._lock:
            self._read[lane] = now, behind
        return behind
