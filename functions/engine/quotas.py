"""Counts what accounts and launchers use, and refuses what exceeds a quota.

A count is one aggregation of the store, and is not asked for each request: an instance keeps it for a while, and adds
what it has created or claimed itself since. So a quota may be exceeded by what other instances do meanwhile, and by
requests that are under way. A count that is far below its quota is kept longer; before a request is refused, a count
that is not from this second is asked for again.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from cachetools import LRUCache

from functions.domain.holder import account_of, name_of
from functions.domain.order import OPEN, Order
from functions.domain.pools import Pool, machines_of
from functions.domain.quotas import DEFAULT_QUOTAS, Demand, Quota, Quotas
from functions.domain.refusals import QuotaExceeded
from functions.engine.token_bucket import TokenBucket
from functions.ports import OrderQuery, OrderStore, Records
from shared.domain.spec import OrderKind
from shared.log_events import LogEvent

MAX_REMEMBERED: Final = 4096
"""How many accounts, and how many launchers, an instance remembers."""
KEPT: Final = timedelta(seconds=5)
"""How long a count is kept."""
KEPT_IF_FAR_BELOW: Final = timedelta(seconds=30)
"""How long a count is kept that is below half of its quota."""
COUNT_AGAIN: Final = timedelta(seconds=1)
"""The age from which a count is asked for again before a request is refused for it."""
BURST_SECONDS: Final = 20.0
"""An account that has created nothing for so long may create at once what it could have created in this time."""
MAX_POOLS: Final = 1000
"""How many pools of an account are read."""
RETRY_SECONDS: Final[Mapping[Quota, int]] = {
    Quota.OPEN_ORDERS: 10,
    Quota.MACHINES: 60,
    Quota.WAITING_CLAIMS: 5,
    Quota.HELD_ORDERS: 10,
    Quota.ACCOUNT_HELD_ORDERS: 10,
}
"""When a refused request may be sent again: nobody knows when an order ends."""
LOG_AGAIN: Final = timedelta(minutes=1)
"""How often a used-up quota of one account or launcher is logged, however many requests are refused."""

log = structlog.get_logger()


def demand_of(order: Order) -> Demand:
    """Return what a new order asks for."""
    return Demand(order.account, 1, int(order.kind is OrderKind.CAPACITY))


class Usage:
    """What accounts and launchers use of their quotas. Shared by all requests of a process.

    Methods that count raise Unavailable.
    """

    def __init__(
        self,
        store: OrderStore,
        pools: Records[Pool],
        clock: Callable[[], datetime],
        quotas: Quotas = DEFAULT_QUOTAS,
    ) -> None:
        self._store, self._pools, self._clock, self._quotas = store, pools, clock, quotas
        self._lock = threading.Lock()
        """Guards the collections below. Nothing is counted while it is held."""
        self._accounts: LRUCache[str, _Account] = LRUCache(MAX_REMEMBERED)
        self._held: LRUCache[tuple[str, str | None], _Count] = LRUCache(MAX_REMEMBERED)
        self._waiting = Counter[str]()
        self._logged_at: LRUCache[tuple[Quota, str], datetime] = LRUCache(MAX_REMEMBERED)

    def admit(self, demand: Demand) -> None:
        """Count new orders in, before they are created. Raises QuotaExceeded.

        A repeat of an earlier request may be refused, too: its caller looks for what the first one has created.
        """
        account = self._account(demand.account)
        with account.lock:
            refusal = self._over(account, demand)
            if refusal is None:
                account.add(demand)
        if refusal is not None:
            raise refusal

    def withdraw(self, demand: Demand) -> None:
        """Count new orders out again: the request was a repeat, and created none."""
        account = self._account(demand.account)
        with account.lock:
            account.add(Demand(demand.account, -demand.orders, -demand.machines))

    @contextmanager
    def waiting(self, account: str) -> Iterator[None]:
        """Count a claim as one that waits here. Raises QuotaExceeded."""
        most = self._quotas.waiting_claims
        with self._lock:
            fits = self._waiting[account] < most
            self._waiting[account] += fits
        if not fits:
            message = f"{most} claims of this account wait at this instance already. Have fewer claims wait at once."
            raise self._exceeded(Quota.WAITING_CLAIMS, account, message)
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
            raise self._exceeded(Quota.HELD_ORDERS, holder, message)
        self.require_account_room_to_hold(account)

    def require_account_room_to_hold(self, account: str) -> None:
        """Raise QuotaExceeded if the launchers of the account hold as many orders as they may."""
        most = self._quotas.account_held_orders
        if self._held_by(account, None).number(self._clock(), most, 1) >= most:
            message = f"The launchers of this account hold {most} orders, which is the most. Finish some of them first."
            raise self._exceeded(Quota.ACCOUNT_HELD_ORDERS, account, message)

    def note_held(self, holder: str) -> None:
        """Count an order in that the launcher has claimed."""
        account = account_of(holder)
        for name in (name_of(holder), None):
            self._held_by(account, name).add(1)

    def _over(self, account: "_Account", demand: Demand) -> QuotaExceeded | None:
        """Return the refusal for the first quota that the demand exceeds. The account's lock is held."""
        now, quotas = self._clock(), self._quotas
        if (wait := account.bucket.wait()) > 0:
            message = (
                f"This account creates more than {quotas.creates_per_second:g} orders a second. Create them slower."
            )
            return self._exceeded(Quota.CREATES_PER_SECOND, demand.account, message, math.ceil(wait))
        number = account.open_orders.number(now, quotas.open_orders, demand.orders)
        if number + demand.orders > quotas.open_orders:
            message = (
                f"{number} orders of this account have not ended, and {quotas.open_orders} is the most. "
                "Wait until some have ended, or cancel some."
            )
            return self._exceeded(Quota.OPEN_ORDERS, demand.account, message)
        if not demand.machines:
            return None
        number = account.machines.number(now, quotas.machines, demand.machines)
        if number + demand.machines > quotas.machines:
            message = (
                f"This account has ordered {number} machines, those of its pools included, and {quotas.machines} is "
                "the most. Cancel capacity orders, or lower a pool's target."
            )
            return self._exceeded(Quota.MACHINES, demand.account, message)
        return None

    def _exceeded(self, quota: Quota, who: str, message: str, retry_seconds: int | None = None) -> QuotaExceeded:
        """Return the refusal, and log that the quota is used up, unless that was logged within LOG_AGAIN."""
        now = self._clock()
        with self._lock:
            at = self._logged_at.get((quota, who))
            news = at is None or now - at >= LOG_AGAIN
            if news:
                self._logged_at[quota, who] = now
        if news:
            said = "A quota is used up; what would exceed it is refused for now."
            log.warning(LogEvent.QUOTA_EXCEEDED, message=said, quota=quota, used_by=who, why=message)
        return QuotaExceeded(quota, message, retry_seconds or RETRY_SECONDS[quota])

    def _account(self, account: str) -> "_Account":
        with self._lock:
            if (known := self._accounts.get(account)) is None:
                known = self._accounts[account] = _Account(
                    _Count(lambda: self._store.count(OrderQuery(account=account, states=OPEN))),
                    _Count(lambda: self._machines(account)),
                    self._bucket(),
                )
            return known

    def _bucket(self) -> TokenBucket:
        rate = self._quotas.creates_per_second
        return TokenBucket(rate, max(rate * BURST_SECONDS, 1.0), self._clock)

    def _held_by(self, account: str, name: str | None) -> "_Count":
        with self._lock:
            if (known := self._held.get((account, name))) is None:
                known = self._held[account, name] = _Count(lambda: self._store.count_held(account, name))
            return known

    def _machines(self, account: str) -> int:
        open_orders = self._store.count(OrderQuery(account=account, states=OPEN, kind=OrderKind.CAPACITY))
        return machines_of(self._pools.find("account", account, MAX_POOLS), open_orders)


class _Count:
    """A number that the store counts with `count`, and what this instance has added since. Threads may share it."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._number = 0
        self._counted_at: datetime | None = None

    def number(self, now: datetime, most: int, more: int) -> int:
        """Return the number; count again if it is old for its distance to `most`, or if `more` would exceed that."""
        with self._lock:
            age = timedelta.max if self._counted_at is None else now - self._counted_at
            kept = KEPT_IF_FAR_BELOW if self._number < most / 2 else KEPT
            if age >= kept or (age >= COUNT_AGAIN and self._number + more > most):
                self._number = self._count()
                self._counted_at = now
            return self._number

    def add(self, more: int) -> None:
        with self._lock:
            self._number += more


@dataclass(frozen=True, slots=True)
class _Account:
    """`lock` is held while a demand is compared with all of this, the counting included.

    Several orders of one request may take more from the bucket than there is: the account then waits until it has
    filled up.
    """

    open_orders: _Count
    machines: _Count
    bucket: TokenBucket
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, demand: Demand) -> None:
        self.bucket.take(demand.orders)
        self.open_orders.add(demand.orders)
        self.machines.add(demand.machines)
