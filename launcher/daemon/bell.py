"""The doorbell's loop: pulls bells while there is room, claims their orders, and gives the other bells back."""

from datetime import timedelta
from typing import Final

import structlog

from launcher.daemon.bells import BellListener, BellsUnavailable, DeliveredBell
from launcher.host.clock import Clock
from launcher.orders.admission import Admission
from launcher.orders.assignments import Assignments
from launcher.orders.claims import OrderClaimer
from launcher.orders.lanes import Lanes
from launcher.orders.outage import Backoff, Outage
from shared.client_errors import OtherVersion, Refused, Unreachable
from shared.crash_points import Point, reach
from shared.log_events import LogEvent

AT_ONCE: Final = timedelta()
NO_ROOM_DELAY: Final = timedelta(seconds=5)
"""The delay before a bell is delivered again if this launcher has no room: another launcher may have some."""
FOREIGN_DELAY: Final = timedelta(seconds=10)
"""The delay for a bell of a lane that is not served. The subscription's filter drops those, except in the emulator, and
except those of lanes that the launcher could serve, but that are beyond the scope of its key.
"""
BEYOND_SCOPE: Final = "conflict"
"""The code of the refusal of a claim by id whose lanes, within the key's scope, are not the order's."""
UNREADABLE_DELAY: Final = timedelta(seconds=30)
"""The delay for a bell whose order the control plane cannot read, in a roll-out or after a rollback."""

NO_LANES: Final = Lanes(())

log = structlog.get_logger()


class DoorbellLoop:
    """Answers the bells of the lanes of `claims`. Another loop claims the orders of the lanes `polled`."""

    def __init__(
        self,
        listener: BellListener,
        claims: OrderClaimer,
        assignments: Assignments,
        admission: Admission,
        outage: Outage,
        clock: Clock,
        polled: Lanes = NO_LANES,
    ) -> None:
        self._listener, self._claims, self._assignments, self._admission = listener, claims, assignments, admission
        self._outage, self._clock, self._polled = outage, clock, polled
        self._backoff = Backoff(clock.jitter)
        self._unreadable = Outage(clock.monotonic, requests="orders of another version")
        self._bell_backoff, self._bell_outage = Backoff(clock.jitter), Outage(clock.monotonic, "the doorbell", "bells")

    def run(self) -> None:
        """Pull bells, never more than there is room for, until admission closes."""
        while (room := self._admission.await_room(self._claims.lanes)) > 0:
            self._clock.pause(self._pull(room), self._admission.closed)

    def _pull(self, most: int) -> float:
        """Pull bells once and answer each; return the seconds to wait before the next time."""
        try:
            bells = self._listener.pull(most)
        except BellsUnavailable as error:
            self._bell_outage.failed(error)
            return self._bell_backoff.next()
        self._bell_outage.answered()
        self._bell_backoff.reset()
        wait = 0.0
        for delivered in bells:
            if wait > 0:  # the control plane does not answer claims now
                self._give_back(delivered, timedelta(seconds=wait))
            else:
                wait = self._answer(delivered)
        return wait

    def _answer(self, delivered: DeliveredBell) -> float:
        """Claim the bell's order and begin it; return the seconds to wait if the control plane does not answer."""
        if self._polled.find(delivered.bell.lane) is not None:
            self._acknowledge(delivered)
            return 0
        lane = self._claims.lanes.find(delivered.bell.lane)
        if lane is None:
            self._give_back(delivered, FOREIGN_DELAY)
            return 0
        room = self._admission.reserve(lane)
        if room is None:
            self._give_back(delivered, AT_ONCE if self._admission.closed.is_set() else NO_ROOM_DELAY)
            return 0
        asked_at = self._clock.monotonic()
        try:
            claimed = self._claims.by_id(delivered.bell.order_id)
        except OtherVersion as error:  # only this order is affected: other bells do not wait
            self._admission.free(room)
            self._unreadable.failed(error)
            self._give_back(delivered, UNREADABLE_DELAY)
            return 0
        except (Unreachable, Refused) as error:
            self._admission.free(room)
            if isinstance(error, Refused) and error.code == BEYOND_SCOPE:  # other bells do not wait
                self._give_back(delivered, FOREIGN_DELAY)
                return 0
            return self._claim_failed(delivered, error)
        self._outage.answered()
        self._backoff.reset()
        if claimed is None:
            self._admission.free(room)
        else:
            self._assignments.begin(claimed, room, asked_at)
        self._acknowledge(delivered)
        return 0

    def _claim_failed(self, delivered: DeliveredBell, error: Exception) -> float:
        self._outage.failed(error)
        seconds = self._backoff.next(error)
        self._give_back(delivered, timedelta(seconds=seconds))
        return seconds

    def _acknowledge(self, delivered: DeliveredBell) -> None:
        try:
            self._listener.acknowledge(delivered)
        except BellsUnavailable as error:
            log.warning(
                LogEvent.BELL_NOT_ACKNOWLEDGED,
                message="The broker did not take the acknowledgement of a bell: it delivers the bell again.",
                order_id=delivered.bell.order_id,
                error=str(error),
            )
        reach(Point.LAUNCHER_ACKNOWLEDGED)

    def _give_back(self, delivered: DeliveredBell, after: timedelta) -> None:
        try:
            self._listener.give_back(delivered, after)
        except BellsUnavailable as error:
            log.warning(
                LogEvent.BELL_NOT_GIVEN_BACK,
                message="The broker did not take a bell back: it delivers the bell again later than asked.",
                order_id=delivered.bell.order_id,
                error=str(error),
            )
