"""Reads what can be claimed in a set of lanes, so that no account's orders hide another's.

The orders that have waited longest are read first. If there are more than one read takes, they may all be of one
account; then the reader also walks through the accounts: it reads a few orders, goes on after the account that the
read ended with, however many more orders that has, and continues there the next time.
"""

import random
import string
from collections.abc import Set
from datetime import datetime
from typing import Final

from functions.ports.orders import OrderStore, Snapshot

READ_AT_ONCE: Final = 256
"""How many of the orders that have waited longest are read."""
PAGE: Final = 64
"""How many orders each read of a walk takes."""
MAX_PAGES: Final = 4
"""How many reads one walk takes at most: if each ended with an account of many orders, it would find only these."""
ENOUGH_ACCOUNTS: Final = 32
"""A walk that has found so many accounts takes no other read."""


class LaneReader:
    """Reads for one claimer at a time. Each reader begins its walk elsewhere, so that processes find different ones."""

    def __init__(self, store: OrderStore, lanes: Set[str]) -> None:
        self._store, self._lanes = store, lanes
        self._after = random.choice(string.digits + string.ascii_lowercase)  # noqa: S311 (not a secret)
        """The account that the walk goes on after."""

    def read(self, now: datetime) -> list[Snapshot]:
        """Return orders that may be claimed now. Raises Unavailable."""
        oldest = self._store.claimable(self._lanes, now, READ_AT_ONCE)
        if len(oldest) < READ_AT_ONCE:
            return list(oldest)
        found = {one.order.id: one for one in (*oldest, *self._walk(now))}
        return list(found.values())

    def _walk(self, now: datetime) -> list[Snapshot]:
        """Read on by account; after the last account, from the first one, but only once round."""
        found, accounts = list[Snapshot](), set[str]()
        start, round_again = self._after, False
        for _ in range(MAX_PAGES):
            page = self._store.claimable_by_account(self._lanes, now, self._after, PAGE)
            found += page.orders
            accounts |= {one.order.account for one in page.orders}
            self._after = page.last or ""
            ended = round_again and (page.last is None or page.last >= start)
            if ended or len(accounts) >= ENOUGH_ACCOUNTS:
                break
            round_again |= page.last is None
        return found
