"""The polling loop: claims the next order, one at a time, while there is room.

A launcher without Pub/Sub has one for all its lanes; any launcher has one for lanes whose provider starts few machines
at once. Those orders wait for their turn, longer than a bell may be given back, and whose turn it is, the control plane
chooses fairly among all that wait.
"""

from typing import Final

from launcher.host.clock import Clock
from launcher.orders.admission import Admission, Room
from launcher.orders.assignments import Assignments
from launcher.orders.claims import WAIT_SECONDS, OrderClaimer
from launcher.orders.lanes import names
from launcher.orders.outage import Backoff, Outage
from shared.client_errors import ControlPlaneError, Refused, Unreachable
from shared.domain.lanes import lane as lane_of

REST_SECONDS: Final = 1.0
"""The longest wait between two claims that brought nothing. Each wait is cut at random, to spread launchers."""


class PollingLoop:
    """`every` is the wait in seconds between two claims that brought nothing; None: up to REST_SECONDS.

    A claim waits up to `wait_seconds` for an order, and holds room for one meanwhile. A loop that shares the room with
    another must not wait: the room that it holds may be the last.
    """

    def __init__(
        self,
        claims: OrderClaimer,
        assignments: Assignments,
        admission: Admission,
        outage: Outage,
        clock: Clock,
        every: float | None = None,
        wait_seconds: int = WAIT_SECONDS,
    ) -> None:
        self.begun = 0
        """How many orders this loop has begun."""
        self._claims, self._assignments, self._admission = claims, assignments, admission
        self._outage, self._clock, self._every, self._wait_seconds = outage, clock, every, wait_seconds
        self._backoff = Backoff(clock.jitter)

    def run(self, limit: int | None = None) -> None:
        """Claim until admission closes, or this loop has begun `limit` orders."""
        while limit is None or self.begun < limit:
            room = self._admission.reserve_when_free(self._claims.lanes)
            if room is None:
                return
            self._clock.pause(self._turn(room), self._admission.closed)

    def claim(self, room: Room, wait_seconds: int) -> bool:
        """Claim once, and return whether that brought an order. Raises Unreachable, Refused."""
        asked_at = self._clock.monotonic()
        try:
            claimed = self._claims.next(names(room.lanes), wait_seconds)
        except ControlPlaneError:
            self._admission.free(room.reservation)
            raise
        if claimed is None:
            self._admission.free(room.reservation)
            return False
        if (lane := self._claims.lanes.find(lane_of(claimed.spec))) is not None:
            self._admission.resize(room.reservation, lane)
        self._assignments.begin(claimed, room.reservation, asked_at)
        self.begun += 1
        return True

    def _turn(self, room: Room) -> float:
        """Claim once, and return the seconds to wait before the next."""
        if self._admission.closed.is_set():
            self._admission.free(room.reservation)
            return 0
        try:
            brought = self.claim(room, self._wait_seconds)
        except (Unreachable, Refused) as error:
            self._outage.failed(error)
            return self._backoff.next(error)
        self._outage.answered()
        self._backoff.reset()
        return 0 if brought else self._rest()

    def _rest(self) -> float:
        return REST_SECONDS * self._clock.jitter() if self._every is None else self._every
