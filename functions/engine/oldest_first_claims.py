"""Claims for workers that send no heartbeats: they get the oldest order first."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from functions.domain.events import Claim
from functions.domain.order import Order
from functions.engine.claims import NextClaim

MAX_RELEASED: Final = 10
"""The number of expired claims that one claim releases if it finds no order."""


@dataclass(frozen=True, slots=True)
class OldestFirstClaims:
    """`release_expired` releases at most this number of expired claims."""

    oldest_first: NextClaim
    release_expired: Callable[[int], None]
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def claim(self, lanes: Collection[str], holder: str, ttl: timedelta) -> Order | None:
        """Return an order of these lanes, claimed for `ttl`; None if there is none.

        If there is none, expired claims are released, so that the next claim may find their orders. Raises Unavailable.
        """
        if not lanes:
            return None
        now = self.clock()
        order = self.oldest_first.next(lanes, Claim(self.new_id(), holder, now + ttl, attended=False), now)
        if order is None:
            self.release_expired(MAX_RELEASED)
        return order
