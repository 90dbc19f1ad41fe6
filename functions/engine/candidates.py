"""Claiming any fitting order: candidates are read once for all claimers of this process, and each is claimed by id.

Were every claimer to read the head of the queue by itself, all would fight for the same order. Here one query of many
serves many claims, and each claim is one write on the condition that the candidate is still as it was read.
"""

import random
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Final

from cachetools import LRUCache

from functions.domain.events import Claim
from functions.domain.order import Order
from functions.domain.refusals import NotFound, OtherVersion, WrongState
from functions.ports import OrderStore, Snapshot

READ_AT_ONCE: Final = 128
STALE: Final = timedelta(seconds=2)
"""How long after it was read a candidate is worth a write, and one that was tried is not offered again."""
REST: Final = timedelta(seconds=1)
"""How long a query that found nothing answers for the next ones too."""
LANE_SETS: Final = 256

Mark = tuple[str, int]
"""An order and its epoch: one that was claimed and is queued again is another candidate."""
Look = Callable[[frozenset[str], datetime], list[Snapshot]]


class Candidates:
    """Shared by all claimers of a process.

    However many claimers wait, a set of lanes costs one query each `rest`; so "none" may be that old an answer. A
    request that has an order by now is given that one.
    """

    def __init__(
        self,
        store: OrderStore,
        rest: timedelta = REST,
        shuffle: Callable[[list[Snapshot]], None] = random.shuffle,
        new_lock: Callable[[], AbstractContextManager[object]] = threading.Lock,
    ) -> None:
        """`new_lock` makes the lock that the claimers of one set of lanes wait for while one of them queries."""
        self._store, self._rest, self._shuffle, self._new_lock = store, rest, shuffle, new_lock
        self._lock = threading.Lock()
        self._queues: LRUCache[frozenset[str], _Queue] = LRUCache(LANE_SETS)
        self._tried: dict[Mark, datetime] = {}

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        """Return an order of these lanes after `claim`, or None where none is to be had now. Raises Unavailable."""
        queue = self._queue(frozenset(lanes))
        while (candidate := queue.take(now)) is not None:
            order = self._claim(candidate, claim, now)
            if order is not None:
                return order
        return None

    def _claim(self, candidate: Snapshot, claim: Claim, now: datetime) -> Order | None:
        """Return the order where it is ours now, None where another was faster, here or elsewhere."""
        mark = _mark(candidate)
        with self._lock:
            if self._was_tried(mark, now):
                return None
            self._tried[mark] = now
        try:
            return self._store.claim(candidate, claim, now)
        except (WrongState, NotFound, OtherVersion):  # it may have been removed, or changed by another version
            return None

    def _queue(self, lanes: frozenset[str]) -> "_Queue":
        with self._lock:
            queue = self._queues.get(lanes)
            if queue is None:
                queue = self._queues[lanes] = _Queue(lanes, self._look, self._rest, self._new_lock())
            return queue

    def _look(self, lanes: frozenset[str], now: datetime) -> list[Snapshot]:
        """Read the candidates that nobody here has tried, in an order of their own: other processes read the same."""
        found = self._store.claimable(lanes, now, READ_AT_ONCE)
        with self._lock:
            self._tried = {mark: at for mark, at in self._tried.items() if now - at < STALE}
            untried = [candidate for candidate in found if _mark(candidate) not in self._tried]
        self._shuffle(untried)
        return untried

    def _was_tried(self, mark: Mark, now: datetime) -> bool:
        at = self._tried.get(mark)
        return at is not None and now - at < STALE


def oldest_last(candidates: list[Snapshot]) -> None:
    """Sort them so that the oldest order is taken first: from the end. One queued again is as old as it was."""
    candidates.sort(key=lambda candidate: (candidate.order.created_at, candidate.order.id), reverse=True)


def _mark(candidate: Snapshot) -> Mark:
    return candidate.order.id, candidate.order.epoch


class _Queue:
    """The candidates of one set of lanes. Whoever finds it empty reads more; the others wait for that."""

    def __init__(
        self, lanes: frozenset[str], look: Look, rest: timedelta, lock: AbstractContextManager[object]
    ) -> None:
        self._lanes, self._look, self._rest, self._lock = lanes, look, rest, lock
        self._candidates: list[Snapshot] = []
        self._looked_at: datetime | None = None
        self._looks = 0
        self._found = False

    def take(self, now: datetime) -> Snapshot | None:
        """Return a candidate that was given to nobody else, or None where there is none."""
        looks = self._looks
        with self._lock:
            if self._age(now) >= STALE:
                self._candidates.clear()
            if not self._candidates and not self._nothing_there(looks, now):
                self._refill(now)
            return self._candidates.pop() if self._candidates else None

    def _nothing_there(self, looks: int, now: datetime) -> bool:
        """Return whether a look found nothing, and ended while this claimer waited, or began not long ago."""
        return not self._found and (self._looks != looks or self._age(now) < self._rest)

    def _refill(self, now: datetime) -> None:
        self._looked_at, self._found = now, False
        try:
            self._candidates = self._look(self._lanes, now)
            self._found = bool(self._candidates)
        finally:
            self._looks += 1  # of a failed one, too: those who waited for it would each fail after it, one by one

    def _age(self, now: datetime) -> timedelta:
        return timedelta.max if self._looked_at is None else now - self._looked_at
