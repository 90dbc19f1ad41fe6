"""Claims: a launcher takes an order, the one that a bell named or the next that fits."""

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
"""How long a claim that waits for an order pauses between two tries."""


class NextClaim(Protocol):
    """Finds and claims some order; one is shared by all claimers of a process."""

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        """Return an order of these lanes after `claim`, or None if none is available now. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """A launcher that claims: `holder` is its text in the lease, `request_id` that of `request_ids.of_launcher`.

    If `attended` is false, it sends no heartbeats once the order runs.
    """

    holder: str
    request_id: str
    lanes: tuple[str, ...]
    attended: bool


@dataclass(frozen=True, slots=True)
class Claims:
    """`any_order` spreads claimers over the queue; `wait` sleeps (seconds)."""

    store: OrderStore
    any_order: NextClaim
    clock: Callable[[], datetime]
    wait: Callable[[float], None]
    lease: timedelta

    def by_id(self, order_id: str, claimant: Claimant) -> Order | None:
        """Return the order, held by the claimant; None if another has it. A repeat returns what it took.

        Raises NotFound, Conflict if the order is of none of the lanes, Unavailable.
        """
        seen = self.store.look(order_id)
        if not set(seen.order.lanes) & set(claimant.lanes):
            raise Conflict(f"The order is of the lane {seen.order.lane}, which is none of those asked for.")
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

    def next(self, claimant: Claimant, wait_seconds: float, present: Callable[[], bool]) -> Order | None:
        """Return some order of the lanes, held by the claimant; None if none comes while it waits. Raises Unavailable.

        `present` says whether the claimant is still connected: one that has hung up gets no order.
        """
        deadline = self.clock() + timedelta(seconds=wait_seconds)
        while present():
            # A repeat whose first answer was lost may reach any instance, while the first still waits at another. The
            # store is all that they share, so each try asks it first what this request has taken already.
            taken = self.store.remembering(claimant.request_id)
            order = next((order for order in taken if order.held_by(claimant.holder)), None)
            if order is None:
                now = self.clock()
                claim = Claim(claimant.request_id, claimant.holder, now + self.lease, claimant.attended)
                order = self.any_order.next(claimant.lanes, claim, now)
            if order is not None:
                reach(Point.CLAIM_STORED)
                return order
            left = (deadline - self.clock()).total_seconds()
            if left <= 0:
                return None
            self.wait(min(RETRY_SECONDS, left))
        return None
