"""Counts what accounts ask for, and refuses what exceeds a quota.

A count is one aggregation of the store, and is not asked for each request: an instance keeps it for a while, and adds
what it has created or claimed itself since. So a quota may be exceeded by what other instances do meanwhile, and by
requests that are under way. A count that is far below its quota is kept longer; before a request is refused, a count
that is not from this second is asked for again.
"""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from cachetools import LRUCache

from functions.domain.order import OPEN, Order
from functions.domain.pools import Pool, machines_of
from functions.domain.quotas import DEFAULT_QUOTAS, Demand, Quota, Quotas
from functions.domain.refusals import QuotaExceeded
from functions.ports.orders import OrderQuery, OrderStore
from functions.ports.records import Records
from shared.domain.spec import OrderKind
from shared.log_events import LogEvent

MAX_REMEMBERED: Final = 4096
"""How many accounts, and how many launchers, an instance remembers."""
COUNT_TTL: Final = timedelta(seconds=5)
"""How long a count is kept."""
LOW_COUNT_TTL: Final = timedelta(seconds=30)
"""How long a count is kept that is below half of its quota."""
MIN_RECOUNT_AGE: Final = timedelta(seconds=1)
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
LOG_INTERVAL: Final = timedelta(minutes=1)
"""How often a used-up quota of one account or launcher is logged, however many requests are refused."""

log = structlog.get_logger()


def demand_of(order: Order) -> Demand:
    """Return what a new order asks for."""
    return Demand(order.account, 1, int(order.kind is OrderKind.CAPACITY))


class Usage:
    """What accounts use of their quotas of orders and machines. Shared by all requests of a process.

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
        """Guards the collection below. Nothing is counted while it is held."""
        self._accounts: LRUCache[str, _Account] = LRUCache(MAX_REMEMBERED)
        self._refusals = Refusals(clock)

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

    def _over(self, account: "_Account", demand: Demand) -> QuotaExceeded | None:
        """Return the refusal for the first quota that the demand exceeds. The account's lock is held."""
        now, quotas = self._clock(), self._quotas
        if (wait := account.bucket.wait()) > 0:
            message = (
                f"This account creates more than {quotas.creates_per_second:g} orders a second. Create them slower."
            )
            return self._refusals.exceeded(Quota.CREATES_PER_SECOND, demand.account, message, math.ceil(wait))
        number = account.open_orders.number(now, quotas.open_orders, demand.orders)
        if number + demand.orders > quotas.open_orders:
            message = (
                f"{number} orders of this account have not ended, and {quotas.open_orders} is the most. "
                "Wait until some have ended, or cancel some."
            )
            return self._refusals.exceeded(Quota.OPEN_ORDERS, demand.account, message)
        if not demand.machines:
            return None
        number = account.machines.number(now, quotas.machines, demand.machines)
        if number + demand.machines > quotas.machines:
            message = (
                f"This account has ordered {number} machines, those of its pools included, and {quotas.machines} is "
                "the most. Cancel capacity orders, or lower a pool's target."
            )
            return self._refusals.exceeded(Quota.MACHINES, demand.account, message)
        return None

    def _account(self, account: str) -> "_Account":
        rate = self._quotas.creates_per_second
        with self._lock:
            if (known := self._accounts.get(account)) is None:
                known = self._accounts[account] = _Account(
                    Count(lambda: self._store.count(OrderQuery(account=account, states=OPEN))),
                    Count(lambda: self._machines(account)),
                    TokenBucket(rate, max(rate * BURST_SECONDS, 1.0), self._clock),
                )
            return known

    def _machines(self, account: str) -> int:
        open_orders = self._store.count(OrderQuery(account=account, states=OPEN, kind=OrderKind.CAPACITY))
        return machines_of(self._pools.find("account", account, MAX_POOLS), open_orders)


class Refusals:
    """Makes the refusals of what exceeds a quota, and logs them."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logged_at: LRUCache[tuple[Quota, str], datetime] = LRUCache(MAX_REMEMBERED)

    def exceeded(self, quota: Quota, used_by: str, message: str, retry_seconds: int | None = None) -> QuotaExceeded:
        """Return the refusal, and log that the quota is used up, unless that was logged within LOG_INTERVAL."""
        now = self._clock()
        with self._lock:
            at = self._logged_at.get((quota, used_by))
            due = at is None or now - at >= LOG_INTERVAL
            if due:
                self._logged_at[quota, used_by] = now
        if due:
            text = "A quota is used up; what would exceed it is refused for now."
            log.warning(LogEvent.QUOTA_EXCEEDED, message=text, quota=quota, used_by=used_by, why=message)
        return QuotaExceeded(quota, message, retry_seconds or RETRY_SECONDS[quota])


class Count:
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
            ttl = LOW_COUNT_TTL if self._number < most / 2 else COUNT_TTL
            if age >= ttl or (age >= MIN_RECOUNT_AGE and self._number + more > most):
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

    open_orders: Count
    machines: Count
    bucket: "TokenBucket"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, demand: Demand) -> None:
        self.bucket.take(demand.orders)
        self.open_orders.add(demand.orders)
        self.machines.add(demand.machines)


class TokenBucket:
    """Fills with `rate` tokens a second, up to `most`; it is full at first. Threads may share it."""

    def __init__(self, rate: float, most: float, clock: Callable[[], datetime]) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._lock = threading.Lock()
        self._tokens, self._filled_at = most, clock()

    def try_take(self) -> float:
        """Take a token, and return 0; if there is none, return the seconds until there is one, and take nothing."""
        with self._lock:
            self._fill()
            if self._tokens >= 1:
                self._tokens -= 1
                return 0
            return (1 - self._tokens) / self._rate

    def wait(self) -> float:
        """Return the seconds until there is a token; 0 if there is one."""
        with self._lock:
            self._fill()
            return max((1 - self._tokens) / self._rate, 0)

    def take(self, count: float) -> None:
        """Take tokens, even more than there are: the bucket must fill up from below zero then. A negative `count` gives
        tokens back.
        """
        with self._lock:
            self._fill()
            self._tokens = min(self._tokens - count, self._most)

    def _fill(self) -> None:
        now = self._clock()
        passed = max((now - self._filled_at).total_seconds(), 0)
        self._tokens, self._filled_at = min(self._tokens + passed * self._rate, self._most), now
