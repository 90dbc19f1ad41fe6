"""Whose order is claimed next: accounts take turns."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import Final

from cachetools import LRUCache

from functions.ports.orders import Snapshot

MAX_ACCOUNTS: Final = 4096
"""The number of accounts whose last turn a process remembers."""


class Turns:
    """When each account last had a turn in this process.

    If `oldest_first`, an account's orders are taken in the sequence in which they were created; an order that was
    queued again keeps its age. Otherwise their sequence is random, so that processes do not compete for the oldest.
    """

    def __init__(self, oldest_first: bool = False) -> None:
        self._oldest_first = oldest_first
        self._lock = Lock()
        self._next = itertools.count(1)
        self._last: LRUCache[str, int] = LRUCache(MAX_ACCOUNTS)

    def note(self, account: str) -> None:
        with self._lock:
            self._last[account] = next(self._next)

    def in_turn(self, candidates: Sequence[Snapshot]) -> list[Snapshot]:
        """Return them so that each account has an order before any has a second; first who had no turn for longest."""
        queue = list(candidates)
        if self._oldest_first:
            queue.sort(key=lambda one: (one.order.created_at, one.order.id))
        else:
            random.shuffle(queue)
        with self._lock:
            last = {one.order.account: self._last.get(one.order.account, 0) for one in queue}
        before = Counter[str]()
        turns: dict[str, tuple[int, int]] = {}
        for one in queue:
            account = one.order.account
            turns[one.order.id] = (before[account], last[account])
            before[account] += 1
        return sorted(queue, key=lambda one: turns[one.order.id])
