"""Claims that wait: each sleeps until an order of its lanes arrives, and reads nothing from the store meanwhile.

One feed of the store (`ports.OrderFeed`) wakes all claims that wait in this process. An order that arrives is offered
to one of them: the one of its lanes that has waited longest and has no other offer. If that one does not take it, or
leaves for another reason, the order is offered to the next. If every claim of its lanes has an offer already, one of
each set of lanes looks at the store before it tries its own, and as long as it finds something, another looks next.

The same is done for what the feed may not have reported: for each set of lanes one claim queries every QUERY_INTERVAL,
and after a fault of the feed. So a feed that is dead without saying so costs time, and no order.

Two locks: `_lock` guards what is known of the waiting claims. Nothing is called while it is held, so it is never held
for long. `_feed_lock` is held while the feed is started or stopped; `_lock` may be taken inside it, never the other way
round. The feed, the store and the claims' own checks are called without `_lock`.
"""

import heapq
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from functions.domain.holder import account_of, are_one
from functions.ports.order_feed import OrderFeed
from functions.ports.orders import Snapshot

MAX_WAITING: Final = 600
"""How many claims wait at one instance, unless a setting says otherwise."""
QUERY_INTERVAL: Final = timedelta(seconds=15)
"""How often one claim of each set of lanes queries the store although nothing arrived."""
RETRY_DELAY: Final = timedelta(seconds=2)
"""How long after a failure of the store one claim tries again."""
FEED_LINGER: Final = timedelta(seconds=60)
"""How long the feed is followed after the last claim has stopped waiting."""
DISPLACED_DELAY: Final = timedelta(seconds=1)
"""How long a claim is held whose wait another one ends. Its launcher claims again at once, and ends the next wait:
without the pause, launchers that are too many would keep the process busy.
"""
MAX_DISPLACED: Final = 100
"""How many claims are held so at one instance, if it has threads enough."""
TICK_SECONDS: Final = 0.1
"""The time (seconds) by which a query, an order that becomes available, or the end of the process may be noticed late.
"""
MAX_LATER: Final = 4096
"""How many orders that become available later are remembered. Others are found by the next query."""


def in_thread(run: Callable[[], None]) -> None:
    threading.Thread(target=run, name="arrivals", daemon=True).start()


@dataclass(eq=False, slots=True)
class Waiting:
    """One claim that waits. `woken` is set whenever another field has changed.

    `offer` is an order that is offered to nobody else. If `has_command`, there may be a command for its launcher.
    If `ended`, it is to be answered at once.
    """

    lanes: frozenset[str]
    holder: str
    woken: threading.Event = field(default_factory=threading.Event)
    offer: Snapshot | None = None
    queries_asked: int = 0
    queries_done: int = 0
    has_command: bool = False
    ended: bool = False

    @property
    def account(self) -> str:
        return account_of(self.holder)

    @property
    def must_query(self) -> bool:
        """Return whether this claim is the one of its lanes that queries the store."""
        return self.queries_asked != self.queries_done

    def ask_to_query(self) -> None:
        self.queries_asked += 1
        self.woken.set()


class Arrivals:
    """The waiting claims of a process.

    `note_queued` is called for each order that arrives while nobody is free to take it: with its lanes, and the order
    itself if it is known. At most `most` claims wait: one more ends the wait of the oldest of the account that has most
    of them, which is answered after DISPLACED_DELAY. At most `most_displaced` are held so: each takes a thread, which
    other requests need, too. `stopping` returns whether the process is about to end: then all waits end. `wait`
    sleeps until the event is set, or for some seconds. `in_background` runs a function that ends once nobody has waited
    for FEED_LINGER.
    """

    def __init__(
        self,
        feed: OrderFeed,
        note_queued: Callable[[Collection[str], Snapshot | None], None],
        clock: Callable[[], datetime],
        most: int = MAX_WAITING,
        most_displaced: int = MAX_DISPLACED,
        stopping: Callable[[], bool] = lambda: False,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
        in_background: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._feed, self._note_queued, self._clock = feed, note_queued, clock
        self._most, self._most_displaced = most, most_displaced
        self._stopping, self._wait, self._in_background = stopping, wait, in_background
        self._feed_lock, self._lock = threading.Lock(), threading.Lock()
        self._stop_feed: Callable[[], None] | None = None
        self._waiting: dict[Waiting, None] = {}
        """Those that waited longest come first."""
        self._displaced = deque[tuple[datetime, Waiting]]()
        """Those that wait no longer, and the times when they are answered, the earliest first."""
        self._queried_at: dict[frozenset[str], datetime] = {}
        self._later: list[tuple[datetime, tuple[str, ...]]] = []
        """A heap of the times from which orders may be claimed, with their lanes."""
        self._idle_since = clock()
        self._closed = False

    @contextmanager
    def waiting(self, lanes: Collection[str], holder: str) -> Iterator[Waiting]:
        """Have a claim wait. What arrives wakes it from the first moment on; what it leaves undone goes to the next."""
        waiting = Waiting(frozenset(lanes), holder)
        try:
            self._enter(waiting)
            yield waiting
        finally:
            self._leave(waiting)

    def sleep(self, waiting: Waiting, seconds: float) -> None:
        """Return when there is something to do for this claim, or after these seconds."""
        self._wait(waiting.woken, seconds)
        waiting.woken.clear()  # before its fields are read: what changes from now on wakes it again

    def hold_back(self, lanes: Collection[str], holder: str) -> None:
        """Return after DISPLACED_DELAY, for a claim that may not wait, and whose launcher would claim again at once."""
        waiting = Waiting(frozenset(lanes), holder)
        with self._lock:
            if self._closed:
                return
            self._displace(waiting)
        self._wait(waiting.woken, DISPLACED_DELAY.total_seconds())

    def postpone(self, waiting: Waiting) -> None:
        """Note that the store failed this claim: some claim of its lanes tries again in RETRY_DELAY."""
        with self._lock:
            waiting.offer, waiting.queries_done = None, waiting.queries_asked
            self._remember(self._clock() + RETRY_DELAY, waiting.lanes)

    def nudge(self, holder: str) -> None:
        """Wake what this launcher waits with: there may be a command for it."""
        with self._lock:
            for one in self._waiting:
                if are_one(one.holder, holder):
                    one.has_command = True
                    one.woken.set()

    def on_order(self, arrived: Snapshot) -> None:
        """Offer an order that became queued, or wake the launcher of a held one that is to stop."""
        order = arrived.order
        if order.lease is not None:
            self.nudge(order.lease.launcher)
            return
        with self._lock:
            if order.available_at > self._clock():
                self._remember(order.available_at, order.lanes)
                return
            free = next((one for one in self._of(order.lanes) if one.offer is None), None)
            if free is not None:
                free.offer = arrived
                free.woken.set()
                return
        self._request_queries(order.lanes, arrived)

    def on_gap(self) -> None:
        """Have one claim of each set of lanes query: orders may have become queued that were not reported."""
        with self._lock:
            self._ask_one_of_each(self._waiting)

    def tick(self) -> bool:
        """Do what is due. Return False if nobody has waited for FEED_LINGER, or if the process is about to end: then
        the feed is stopped.
        """
        now = self._clock()
        with self._lock:
            due = list[tuple[str, ...]]()
            while self._later and self._later[0][0] <= now:
                due.append(heapq.heappop(self._later)[1])
            while self._displaced and self._displaced[0][0] <= now:
                self._end(self._displaced.popleft()[1])
            self._queried_at = {one.lanes: self._queried_at[one.lanes] for one in self._waiting}
            stale = {lanes for lanes, at in self._queried_at.items() if now - at >= QUERY_INTERVAL}
            self._ask_one_of_each(one for one in self._waiting if one.lanes in stale)
        for lanes in due:
            self._request_queries(lanes)
        return self._go_on(now)

    def _enter(self, waiting: Waiting) -> None:
        with self._lock:
            if self._closed:
                self._end(waiting)
                return
            if len(self._waiting) >= self._most:
                crowding = self._crowding()
                del self._waiting[crowding]
                self._displace(crowding)
            self._waiting[waiting] = None
            self._queried_at[waiting.lanes] = self._clock()  # it queries itself before it sleeps
        with self._feed_lock:
            if self._stop_feed is None and not self._closed:
                self._stop_feed = self._feed.follow(self.on_order, self.on_gap)
                self._in_background(self._keep_ticking)

    def _crowding(self) -> Waiting:
        """Return the claim that has waited longest of the account that has most claims waiting."""
        numbers = Counter(one.account for one in self._waiting)
        return max(self._waiting, key=lambda one: numbers[one.account])

    def _displace(self, waiting: Waiting) -> None:
        self._displaced.append((self._clock() + DISPLACED_DELAY, waiting))
        if len(self._displaced) > self._most_displaced:
            self._end(self._displaced.popleft()[1])

    def _leave(self, waiting: Waiting) -> None:
        with self._lock:
            self._waiting.pop(waiting, None)
            self._idle_since = self._clock()
            offer, waiting.offer = waiting.offer, None
            if waiting.must_query:
                self._ask_one_of_each(self._of(waiting.lanes))
        if offer is not None:
            self.on_order(offer)

    def _end(self, waiting: Waiting) -> None:
        self._waiting.pop(waiting, None)
        waiting.ended = True
        waiting.woken.set()

    def _of(self, lanes: Collection[str]) -> Iterator[Waiting]:
        """Yield the waiting claims that can take an order of some of these lanes."""
        return (one for one in self._waiting if not one.lanes.isdisjoint(lanes))

    def _remember(self, available_at: datetime, lanes: Collection[str]) -> None:
        if len(self._later) < MAX_LATER:
            heapq.heappush(self._later, (available_at, tuple(lanes)))

    def _request_queries(self, lanes: Collection[str], arrived: Snapshot | None = None) -> None:
        """Have the waiting claims query for an order of these lanes, and those that come later query anew."""
        self._note_queued(lanes, arrived)
        with self._lock:
            self._ask_one_of_each(self._of(lanes))

    def _ask_one_of_each(self, some: Iterable[Waiting]) -> None:
        """Ask one of each set of lanes."""
        asked, now = set[frozenset[str]](), self._clock()
        for one in some:
            if one.lanes not in asked:
                asked.add(one.lanes)
                self._queried_at[one.lanes] = now
                one.ask_to_query()

    def _keep_ticking(self) -> None:
        pause = threading.Event()
        while self.tick():
            pause.wait(TICK_SECONDS)

    def _go_on(self, now: datetime) -> bool:
        stopping = self._stopping()
        with self._feed_lock:
            with self._lock:
                if stopping:
                    self._closed = True
                    for one in (*self._waiting, *(displaced for _, displaced in self._displaced)):
                        self._end(one)
                elif self._waiting or now - self._idle_since < FEED_LINGER:
                    return True
                stop, self._stop_feed = self._stop_feed, None
            if stop is not None:
                stop()
        return False
