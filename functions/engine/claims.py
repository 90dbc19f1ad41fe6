"""Claims an order for a launcher: the one that a bell named, or the next that fits."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from functions.domain.events import Claim
from functions.domain.order import Order
from functions.domain.refusals import Conflict, WrongState
from functions.ports import OrderStore
from shared.crash_points import Point, reach

RETRY_SECONDS: Final = 1.0
"""The pause between two tries of a claim that waits for an order."""


class NextClaim(Protocol):
    """Finds and claims any order: `candidates.Candidates`, which all claimers of a process share."""

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        """Return an order of these lanes after `claim`, or None if none is available now. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """A launcher that claims. `holder` is its text in the lease; `request_id` comes from `request_ids.of_launcher`.

    If `attended` is false, it sends no heartbeats once the order runs.
    """

    holder: str
    request_id: str
    lanes: tuple[str, ...]
    attended: bool


@dataclass(frozen=True, slots=True)
class Claims:
    """`any_order` gives different candidates to different claimers; `wait` sleeps (seconds)."""

    store: OrderStore
    any_order: NextClaim
    clock: Callable[[], datetime]
    wait: Callable[[float], None]
    lease: timedelta

    def by_id(self, order_id: str, claimant: Claimant) -> Order | None:
        """Claim the order and return it; None if another launcher holds it. A repeat returns the same order.

        Raises NotFound, Conflict if the order is in none of the lanes, Unavailable.
        """
        seen = self.store.look(order_id)
        if not set(seen.order.lanes) & set(claimant.lanes):
            raise Conflict(f"The order is in the lane {seen.order.lane}, which is not among the lanes of the claim.")
        now = self.clock()
        claim = Claim(claimant.request_id, claimant.holder, now + self.lease, claimant.attended)
        try:
            order = self.store.apply(order_id, claim, now, seen)
        except WrongState:
            return None
        if not order.held_by(claimant.holder):
            return None
        reach(Point.CLAIM_STORED)
        return order

    def next(
        self,
        claimant: Claimant,
        wait_seconds: float,
        present: Callable[[], bool],
        has_word: Callable[[], bool] = lambda: False,
    ) -> Order | None:
        """Claim any order of the lanes and return it; None if there is none within the wait. Raises Unavailable.

        `present` returns whether the claimant is still connected. If it is not, it gets no order. The wait ends early
        once `has_word` returns True: there is something else to tell the claimant. It is called before each try.
        """
        deadline = self.clock() + timedelta(seconds=wait_seconds)
        while present() and not has_word():
            # If an answer was lost, the repeat may reach another instance while the first try still waits at this one.
            # They share only the store, so each try first asks it which order this request has already claimed.
            taken = self.store.remembering(claimant.request_id)
            order = next((order for order in taken if order.held_by(claimant.holder)), None)
            if order is None:
                now = self.clock()
                claim = Claim(claimant.request_id, claimant.holder, now + self.lease, claimant.attended)
                order = self.any_order.next(claimant.lanes, claim, now)
            if order is not None:
                if not order.held_by(claimant.holder):
                    return None  # this request claimed it before, and another launcher holds it since
                reach(Point.CLAIM_STORED)
                return order
            left = (deadline - self.clock()).total_seconds()
            if left <= 0:
                return None
            self.wait(min(RETRY_SECONDS, left))
        return None
