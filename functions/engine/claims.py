"""Claims an order for a launcher: because a bell named it, or the next that fits."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from functions.domain.events import Claim
from functions.domain.holder import account_of
from functions.domain.order import Order
from functions.domain.refusals import Conflict, QuotaExceeded, Unavailable, WrongState
from functions.engine.arrivals import Arrivals, Waiting
from functions.engine.backlogs import Backlogs
from functions.engine.claim_quotas import ClaimUsage
from functions.ports.orders import OrderStore, Snapshot
from shared.crash_points import Point, reach


class NextClaim(Protocol):
    """Finds and claims any order: `candidates.Candidates`, which all claimers of a process share."""

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        """Return an order of these lanes after `claim`, or None if none is available now. Raises Unavailable."""

    def claim(self, candidate: Snapshot, claim: Claim, now: datetime) -> Order | None:
        """Return this order after `claim`, or the one that the request already holds; None if another was faster.

        Raises Unavailable.
        """

    def note_queued(self, lanes: Collection[str], arrived: Snapshot | None = None) -> None:
        """Note that an order of these lanes became queued: this one, if it is known."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """A launcher that claims. `holder` is its text in the lease; `request_id` comes from `request_ids.of_launcher`.

    If `attended` is false, it sends no heartbeats once the order runs.
    """

    holder: str
    request_id: str
    lanes: tuple[str, ...]
    attended: bool

    def claim(self, lease_until: datetime) -> Claim:
        """Return the event of this claim."""
        return Claim(self.request_id, self.holder, lease_until, self.attended)


@dataclass(frozen=True, slots=True)
class Claims:
    """`any_order` gives different candidates to different claimers."""

    store: OrderStore
    any_order: NextClaim
    arrivals: Arrivals
    backlogs: Backlogs
    usage: ClaimUsage
    clock: Callable[[], datetime]
    lease: timedelta

    def by_id(self, order_id: str, claimant: Claimant) -> Order | None:
        """Claim the order that a bell named, or another of its lane whose turn it is; None if neither is to be had.

        Bells come in the sequence in which orders were placed. If the lane is behind, a bell says only that an order
        waits in it, so that the bells of one account's many orders do not keep another's order waiting. So does the
        bell of an order that cannot be claimed now. A repeat returns the same order. Raises NotFound, Conflict if the
        order is in none of the claimant's lanes, QuotaExceeded, Unavailable.
        """
        seen = self.store.read(order_id)
        if not set(seen.order.lanes) & set(claimant.lanes):
            raise Conflict("The order is in none of the lanes of the claim.")
        order = seen.order if claimant.request_id in seen.order.recent else None
        if order is None:
            try:
                self.usage.require_room_to_hold(claimant.holder)
                now = self.clock()
                claim = claimant.claim(now + self.lease)
                if not self.backlogs.may_be_next(seen.order, now):
                    order = self.any_order.next([seen.order.lane], claim, now)
                if order is None:
                    order = self.store.claim(seen, claim, now)
                self.usage.note_held(claimant.holder)
            except WrongState:
                return None  # the order cannot be claimed, and there is no other
            except QuotaExceeded:
                order = self._claimed_before(claimant)
                if order is None:
                    raise
        if not order.held_by(claimant.holder):
            return None
        reach(Point.CLAIM_STORED)
        return order

    def next(
        self,
        claimant: Claimant,
        wait_seconds: float,
        present: Callable[[], bool],
        has_command: Callable[[], bool] = lambda: False,
    ) -> Order | None:
        """Claim any order of the lanes and return it; None if there is none within the wait.

        Raises QuotaExceeded if the claimant may hold no more, or if too many claims of its account wait; Unavailable.

        `present` returns whether the claimant is still connected. If it is not, it gets no order. The wait ends early
        once `has_command` returns True: there is a command for the claimant. It is called before the first query,
        and whenever `arrivals` may have a command for the holder. The wait also ends early if too many claims wait, or
        if the process is about to end.
        """
        if not present():
            return None
        try:
            self.usage.require_room_to_hold(claimant.holder)
            if wait_seconds > 0:
                order = self._wait(claimant, wait_seconds, present, has_command)
            else:
                order = None if has_command() else self._at_once(claimant)
        except QuotaExceeded:
            order = self._claimed_before(claimant)
            if order is None:
                raise
        else:
            if order is not None:
                self.usage.note_held(claimant.holder)
        if order is None or not order.held_by(claimant.holder):
            return None  # there is none; or this request claimed it before, and another launcher holds it since
        reach(Point.CLAIM_STORED)
        return order

    def _at_once(self, claimant: Claimant) -> Order | None:
        # If an answer was lost, the repeat may reach another instance while the first try still waits at this one.
        # They share only the store, which is asked first what this request has already claimed.
        return self._claimed_before(claimant) or self._query(claimant)

    def _wait(
        self, claimant: Claimant, wait_seconds: float, present: Callable[[], bool], has_command: Callable[[], bool]
    ) -> Order | None:
        """Wait until there is an order; return None if there is none in time. Raises QuotaExceeded."""
        deadline, account = self.clock() + timedelta(seconds=wait_seconds), account_of(claimant.holder)
        # A claim receives arrivals before it queries: nothing can come unnoticed in between.
        with self.usage.waiting(account), self.arrivals.waiting(claimant.lanes, claimant.holder) as waiting:
            if has_command():
                return None
            order = self._at_once(claimant)
            while order is None:
                left = (deadline - self.clock()).total_seconds()
                if left <= 0:
                    return self._claimed_before(claimant)  # at another instance, where a repeat of this request waits
                self.arrivals.sleep(waiting, left)
                if waiting.ended or not present():
                    return None
                if waiting.has_command:
                    waiting.has_command = False
                    if has_command():
                        return None
                try:
                    order = self._try(waiting, claimant)
                except Unavailable:
                    self.arrivals.postpone(waiting)
        return order

    def _try(self, waiting: Waiting, claimant: Claimant) -> Order | None:
        """Try to claim what a query finds, then what was offered. What is not done is left to other claims.

        The query comes first: it is asked for because orders may wait, and what has just arrived must not pass them.
        """
        if waiting.must_query:
            asked = waiting.queries_asked
            if (order := self._query(claimant)) is not None:
                return order
            waiting.queries_done = asked
        if (offer := waiting.offer) is None:
            return None
        now = self.clock()
        order = self.any_order.claim(offer, claimant.claim(now + self.lease), now)
        if order is None or order.id == offer.order.id:
            waiting.offer = None
        return order

    def _query(self, claimant: Claimant) -> Order | None:
        now = self.clock()
        return self.any_order.next(claimant.lanes, claimant.claim(now + self.lease), now)

    def _claimed_before(self, claimant: Claimant) -> Order | None:
        """Return the order that this request has claimed and still holds."""
        taken = self.store.remembering(claimant.request_id)
        return next((order for order in taken if order.held_by(claimant.holder)), None)
