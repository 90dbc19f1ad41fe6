"""Claims for workers that send no heartbeats: they get the oldest order first."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from functions.domain.events import Claim
from functions.domain.holder import account_of
from functions.domain.order import Order
from functions.domain.refusals import QuotaExceeded
from functions.engine.claim_quotas import ClaimUsage
from functions.engine.claims import NextClaim

MAX_RELEASED: Final = 10
"""The number of expired claims that one claim releases if it finds no order."""


class OldestFirst(NextClaim, Protocol):
    """Finds the order that has waited longest, whoever placed it."""


@dataclass(frozen=True, slots=True)
class OldestFirstClaims:
    """`release_expired` releases at most this number of expired claims."""

    oldest_first: OldestFirst
    release_expired: Callable[[int], None]
    usage: ClaimUsage
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def claim(self, lanes: Collection[str], holder: str, ttl: timedelta) -> Order | None:
        """Return an order of these lanes, claimed for `ttl`; None if there is none.

        All workers of an account are one holder, so only the account's quota limits what it holds. If that is used up,
        there is none. If there is none, expired claims are released, so that the next claim may find their orders.
        Raises Unavailable.
        """
        if not lanes:
            return None
        order = self._next(lanes, holder, ttl)
        if order is None:
            self.release_expired(MAX_RELEASED)
        else:
            self.usage.note_held(holder)
        return order

    def _next(self, lanes: Collection[str], holder: str, ttl: timedelta) -> Order | None:
        try:
            self.usage.require_account_room_to_hold(account_of(holder))
        except QuotaExceeded:
            return None
        now = self.clock()
        return self.oldest_first.next(lanes, Claim(self.new_id(), holder, now + ttl, attended=False), now)
