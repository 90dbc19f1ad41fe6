"""Claims any fitting order: one query reads many candidates for all claimers of this process.

If every claimer read the head of the queue by itself, all would compete for the same order. Instead, each candidate
goes to one claimer of the process, which claims it by id, if it has not changed since it was read. Different processes
try the candidates in different random orders; if two try the same one, the slower one takes its next candidate.

Accounts take turns (`turns.Turns`), and a query finds accounts behind another's many orders (`lane_reader.LaneReader`):
so one account's ten thousand orders do not keep another's single order waiting.

Sets of lanes that overlap share what they have read: every host of agents' jobs claims in a set of its own, because its
name is one of its labels, and all of them claim the jobs that demand no label.
"""

from collections.abc import Callable, Collection, Sequence, Set
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from threading import Event, Lock, Semaphore
from typing import Final

from cachetools import LRUCache

from functions.domain.events import Claim
from functions.domain.order import Order
from functions.domain.refusals import NotFound, OtherVersion, WrongState
from functions.engine.lane_reader import LaneReader
from functions.engine.turns import Turns
from functions.ports.orders import OrderStore, Snapshot

CANDIDATE_TTL: Final = timedelta(seconds=0.5)
"""How long a candidate may be tried after it was read: as long, an account that was not among them has no turn."""
MIN_TAKEN_IF_BUSY: Final = 4
"""If so many candidates of one query were taken, the rest may be tried for as long as `BUSY_CANDIDATE_TTL`: a query
may take half a second when many claim.
"""
BUSY_CANDIDATE_TTL: Final = timedelta(seconds=1)
TRIED_TTL: Final = timedelta(seconds=2)
"""How long a tried candidate is not offered again."""
QUERY_INTERVAL: Final = timedelta(seconds=1)
"""After a query that found nothing, the next one for the same lanes waits this long."""
OWN_QUERY_INTERVAL: Final = timedelta(seconds=5)
"""How long the claimers of a set of lanes may live on what others have read. While there is enough of it, an order that
only they can take waits as long.
"""
QUERIES_AT_ONCE: Final = 4
"""One more waits for one of these, and perhaps finds what that has read: a process has few candidates in memory."""
MAX_QUERY_WAIT: Final = 0.5
"""Seconds that it waits: if the store does not answer, nobody waits for the others' time limits, too."""
MAX_LANE_SETS: Final = 256


class Candidates:
    """Shared by all claimers of a process; finds an order for each (`claims.NextClaim`).

    A set of lanes costs at most one query in each `pause`, for any number of waiting claimers. So None may be an answer
    as old as `pause`, unless `note_queued` was called since. If `oldest_first`, an account's oldest order is taken in
    its turn, and sets of lanes share no candidates: another set's may be younger. `new_lock` makes the lock that one
    claimer of a set of lanes holds during its query, while the others wait for it.
    """

    def __init__(
        self,
        store: OrderStore,
        pause: timedelta = QUERY_INTERVAL,
        oldest_first: bool = False,
        new_lock: Callable[[], AbstractContextManager[object]] = Lock,
    ) -> None:
        self._store, self._pause, self._new_lock = store, pause, new_lock
        self._tried, self._turns, self._shares = _Tried(), Turns(oldest_first), not oldest_first
        self._lock, self._querying = Lock(), Semaphore(QUERIES_AT_ONCE)
        self._queues: LRUCache[frozenset[str], _LaneQueue] = LRUCache(MAX_LANE_SETS)

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        """Return an order of these lanes after `claim`; None if none is available now. Raises Unavailable.

        If the request already holds an order, that one is returned.
        """
        lane_set = frozenset(lanes)
        with self._lock:
            if (queue := self._queues.get(lane_set)) is None:
                reader = LaneReader(self._store, lane_set)
                queue = self._queues[lane_set] = _LaneQueue(reader, self._pause, self._new_lock(), now)
            others = [one for one in self._queues.values() if one is not queue] if self._shares else []

        def read() -> list[Snapshot]:
            return self._turns.in_turn(self._tried.without(queue.reader.read(now), now))

        def borrow() -> Snapshot | None:
            return next(filter(None, (other.lend(lane_set, now) for other in others)), None)

        while (candidate := queue.take(read, borrow, self._querying, now)) is not None:
            if (claimed := self.claim(candidate, claim, now)) is not None:
                return claimed
        return None

    def claim(self, candidate: Snapshot, claim: Claim, now: datetime) -> Order | None:
        """Return this order after `claim`; None if another was faster. Raises Unavailable.

        If the request already holds an order, that one is returned.
        """
        if not self._tried.add(candidate, now):
            return None  # another claimer of this process was faster
        try:
            claimed = self._store.claim(candidate, claim, now)
        except (WrongState, NotFound, OtherVersion):
            return None  # another process was faster, or the order was removed, or another version wrote it
        if claimed.id != candidate.order.id:
            self._tried.forget(candidate)  # the request holds another order; this one is still to be had
        self._turns.note(claimed.account)
        return claimed

    def note_queued(self, lanes: Collection[str], arrived: Snapshot | None = None) -> None:
        """Note that an order of these lanes became queued: queries before this no longer answer for them.

        If it is known which one, it is a candidate from now on, unless its account has others already.
        """
        with self._lock:
            queues = [queue for lane_set, queue in self._queues.items() if not lane_set.isdisjoint(lanes)]
        for queue in queues:
            queue.outdate()
            if arrived is not None:
                queue.add(arrived, self._turns.in_turn)


class _Tried:
    """The candidates that this process has tried to claim within TRIED_TTL.

    An order that was claimed and queued again has a new epoch, so it is a new candidate.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tried_at: dict[tuple[str, int], datetime] = {}

    def add(self, candidate: Snapshot, now: datetime) -> bool:
        """Record a try, and return whether it is the first within TRIED_TTL."""
        with self._lock:
            if self._was_tried(candidate, now):
                return False
            self._tried_at[candidate.order.id, candidate.order.epoch] = now
            return True

    def forget(self, candidate: Snapshot) -> None:
        with self._lock:
            self._tried_at.pop((candidate.order.id, candidate.order.epoch), None)

    def without(self, candidates: Sequence[Snapshot], now: datetime) -> list[Snapshot]:
        """Return the candidates that were not tried within TRIED_TTL; forget the tries before that."""
        with self._lock:
            self._tried_at = {mark: at for mark, at in self._tried_at.items() if now - at < TRIED_TTL}
            return [candidate for candidate in candidates if not self._was_tried(candidate, now)]

    def _was_tried(self, candidate: Snapshot, now: datetime) -> bool:
        at = self._tried_at.get((candidate.order.id, candidate.order.epoch))
        return at is not None and now - at < TRIED_TTL


class _LaneQueue:
    """The candidates of one set of lanes. A claimer that finds none left reads more; the others wait for its result."""

    def __init__(
        self, reader: LaneReader, pause: timedelta, lock: AbstractContextManager[object], now: datetime
    ) -> None:
        self.reader = reader
        """Used by one claimer at a time: by the one that queries."""
        self._pause = pause
        self._lock = lock
        """Held during a query."""
        self._made_at = now
        self._list_lock = Lock()
        """Held while the list of candidates is read or changed, and never during a query."""
        self._candidates: list[Snapshot] = []
        """The first one is taken first."""
        self._taken = 0
        """How many candidates of the last query were taken."""
        self._queries = 0
        """How many queries have ended, failed ones too."""
        self._asked_at: datetime | None = None
        self._found_some = False
        self._outdated = Event()
        """Set if an order became queued since the last query began."""

    def outdate(self) -> None:
        self._outdated.set()

    def add(self, arrived: Snapshot, in_turn: Callable[[Sequence[Snapshot]], list[Snapshot]]) -> None:
        """Let an order that came after the query have its turn, if it is the first candidate of its account.

        If there are no candidates, the next claimer queries in any case.
        """
        with self._list_lock:
            accounts = {one.order.account for one in self._candidates}
            if accounts and arrived.order.account not in accounts:
                self._candidates = in_turn([*self._candidates, arrived])

    def take(
        self,
        read: Callable[[], list[Snapshot]],
        borrow: Callable[[], Snapshot | None],
        querying: Semaphore,
        now: datetime,
    ) -> Snapshot | None:
        """Return a candidate that no other claimer gets, or None. Raises Unavailable if this claimer's query fails.

        `borrow` takes one from the other sets of lanes.
        """
        queries_before = self._queries
        with self._lock:
            waited_for_a_query = self._queries != queries_before
            if (own := self._own(now, waited_for_a_query)) is not None:
                return own
            may_borrow = now - (self._asked_at or self._made_at) < OWN_QUERY_INTERVAL
            if may_borrow and (lent := borrow()) is not None:
                return lent
            age = timedelta.max if self._asked_at is None else now - self._asked_at
            if not (self._found_some or self._outdated.is_set()) and (waited_for_a_query or age < self._pause):
                return None  # the last query found nothing, or failed, and its result is this claimer's, too
            waits = querying.acquire(timeout=MAX_QUERY_WAIT)
            try:
                if may_borrow and (lent := borrow()) is not None:
                    return lent
                return self._query(read, now)
            finally:
                if waits:
                    querying.release()

    def lend(self, lanes: Set[str], now: datetime) -> Snapshot | None:
        """Return a candidate in one of these lanes, which is then no longer one of this set; None if there is none."""
        if not self._candidates:
            return None
        with self._list_lock:
            self._drop_old(now)
            for at in range(len(self._candidates)):
                if not lanes.isdisjoint(self._candidates[at].order.lanes):
                    self._taken += 1
                    return self._candidates.pop(at)
        return None

    def _own(self, now: datetime, just_read: bool) -> Snapshot | None:
        with self._list_lock:
            if not just_read:
                self._drop_old(now)
            if not self._candidates:
                return None
            self._taken += 1
            return self._candidates.pop(0)

    def _drop_old(self, now: datetime) -> None:
        age = timedelta.max if self._asked_at is None else now - self._asked_at
        if age >= (CANDIDATE_TTL if self._taken < MIN_TAKEN_IF_BUSY else BUSY_CANDIDATE_TTL):
            self._candidates.clear()

    def _query(self, read: Callable[[], list[Snapshot]], now: datetime) -> Snapshot | None:
        self._outdated.clear()
        self._asked_at, self._found_some, self._taken = now, False, 1
        try:
            found = read()
        finally:
            self._queries += 1
        self._found_some = bool(found)
        first = found.pop(0) if found else None
        with self._list_lock:
            self._candidates = found
        return first
