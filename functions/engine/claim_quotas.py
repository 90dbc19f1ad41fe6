"""Counts the orders that launchers hold and the claims that wait, and refuses what exceeds a quota.

The counts are as approximate as those of `quotas`.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from cachetools import LRUCache

from functions.domain.holder import account_of, name_of
from functions.domain.quotas import DEFAULT_QUOTAS, Quota, Quotas
from functions.engine.quotas import MAX_REMEMBERED, Count, Refusals
from functions.ports.orders import OrderStore


class ClaimUsage:
    """What launchers, and their accounts, use of their quotas. Shared by all requests of a process.

    Methods that count raise Unavailable.
    """

    def __init__(self, store: OrderStore, clock: Callable[[], datetime], quotas: Quotas = DEFAULT_QUOTAS) -> None:
        self._store, self._clock, self._quotas = store, clock, quotas
        self._lock = threading.Lock()
        """Guards the collections below. Nothing is counted while it is held."""
        self._held: LRUCache[tuple[str, str | None], Count] = LRUCache(MAX_REMEMBERED)
        self._waiting = Counter[str]()
        self._refusals = Refusals(clock)

    @contextmanager
    def waiting(self, account: str) -> Iterator[None]:
        """Count a claim as one that waits here. Raises QuotaExceeded."""
        most = self._quotas.waiting_claims
        with self._lock:
            fits = self._waiting[account] < most
            self._waiting[account] += fits
        if not fits:
            message = f"{most} claims of this account wait at this instance already. Have fewer claims wait at once."
            raise self._refusals.exceeded(Quota.WAITING_CLAIMS, account, message)
        try:
            yield
        finally:
            with self._lock:
                self._waiting[account] -= 1
                if not self._waiting[account]:
                    del self._waiting[account]

    def require_room_to_hold(self, holder: str) -> None:
        """Raise QuotaExceeded if the launcher, or its account, holds as many orders as it may."""
        account, name, most = account_of(holder), name_of(holder), self._quotas.held_orders
        if self._held_by(account, name).number(self._clock(), most, 1) >= most:
            message = (
                f"The launcher {name} holds {most} orders, which is the most. Finish or return some of them first."
            )
            raise self._refusals.exceeded(Quota.HELD_ORDERS, holder, message)
        self.require_account_room_to_hold(account)

    def require_account_room_to_hold(self, account: str) -> None:
        """Raise QuotaExceeded if the launchers of the account hold as many orders as they may."""
        most = self._quotas.account_held_orders
        if self._held_by(account, None).number(self._clock(), most, 1) >= most:
            message = f"The launchers of this account hold {most} orders, which is the most. Finish some of them first."
            raise self._refusals.exceeded(Quota.ACCOUNT_HELD_ORDERS, account, message)

    def note_held(self, holder: str) -> None:
        """Count an order in that the launcher has claimed."""
        account = account_of(holder)
        for name in (name_of(holder), None):
            self._held_by(account, name).add(1)

    def _held_by(self, account: str, name: str | None) -> Count:
        with self._lock:
            if (known := self._held.get((account, name))) is None:
                known = self._held[account, name] = Count(lambda: self._store.count_held(account, name))
            return known
