"""The doorbell's loop: hear as many bells as there is room for, claim what they name, give back what is not ours."""

from datetime import timedelta
from typing import Final

import structlog

from launcher.daemon.bells import BellListener, BellsUnavailable, Heard
from launcher.host.clock import Clock
from launcher.orders.admission import Admission
from launcher.orders.assignments import Runs
from launcher.orders.claims import Claims
from launcher.orders.outage import Backoff, Outage
from shared.client import OtherVersion, Refused, Unreachable
from shared.crash_points import Point, reach

AT_ONCE: Final = timedelta()
NO_ROOM: Final = timedelta(seconds=5)
"""When a bell comes again that there is no room for now: another launcher may have some."""
FOREIGN: Final = timedelta(seconds=10)
"""When a bell of another's lane comes again. The subscription's filter keeps them away; the emulator ignores it."""
UNREADABLE: Final = timedelta(seconds=30)
"""When a bell comes again whose order the control plane cannot read now, in a roll-out or after a rollback."""

log = structlog.get_logger()


class DoorbellLoop:
    def __init__(
        self, listener: BellListener, claims: Claims, runs: Runs, admission: Admission, outage: Outage, clock: Clock
    ) -> None:
        self._listener, self._claims, self._runs, self._admission = listener, claims, runs, admission
        self._outage, self._clock = outage, clock
        self._backoff = Backoff(clock.jitter)
        self._unreadable = Outage(clock.monotonic, asked="orders of another version")
        self._silence, self._deafness = Backoff(clock.jitter), Outage(clock.monotonic, "the doorbell", "bells")

    def run(self) -> None:
        """Hear bells while there is room, until admission closes. No bell is heard that there is no room for."""
        while (room := self._admission.await_room(self._claims.lanes)) > 0:
            self._clock.pause(self._hear(room), self._admission.closed)

    def _hear(self, most: int) -> float:
        """Hear bells once and answer each; return the seconds to wait before the next time."""
        try:
            bells = self._listener.hear(most)
        except BellsUnavailable as error:
            self._deafness.goes_on(error)
            return self._silence.next()
        self._deafness.ends()
        self._silence.reset()
        wait = 0.0
        for heard in bells:
            if wait > 0:  # claims are not served now
                self._give_back(heard, timedelta(seconds=wait))
            else:
                wait = self._answer(heard)
        return wait

    def _answer(self, heard: Heard) -> float:
        """Claim the bell's order and start its run; return the seconds to wait where claims are not served."""
        lane = self._claims.lanes.rung(heard.bell.lane)
        if lane is None:
            self._give_back(heard, FOREIGN)
            return 0
        room = self._admission.reserve(lane)
        if room is None:
            self._give_back(heard, AT_ONCE if self._admission.closed.is_set() else NO_ROOM)
            return 0
        asked_at = self._clock.monotonic()
        try:
            claimed = self._claims.by_id(heard.bell.order_id)
        except OtherVersion as error:  # of this order alone: the others' bells do not wait
            self._admission.free(room)
            self._unreadable.goes_on(error)
            self._give_back(heard, UNREADABLE)
            return 0
        except (Unreachable, Refused) as error:
            self._admission.free(room)
            return self._unserved(heard, error)
        self._outage.ends()
        self._backoff.reset()
        if claimed is None:
            self._admission.free(room)
        else:
            self._runs.begin(claimed, room, asked_at)
        self._acknowledge(heard)
        return 0

    def _unserved(self, heard: Heard, error: Exception) -> float:
        self._outage.goes_on(error)
        seconds = self._backoff.next()
        self._give_back(heard, timedelta(seconds=seconds))
        return seconds

    def _acknowledge(self, heard: Heard) -> None:
        try:
            self._listener.acknowledge(heard)
        except BellsUnavailable as error:
            log.warning("a bell will be heard again", order_id=heard.bell.order_id, error=str(error))
        reach(Point.LAUNCHER_ACKNOWLEDGED)

    def _give_back(self, heard: Heard, after: timedelta) -> None:
        try:
            self._listener.give_back(heard, after)
        except BellsUnavailable as error:
            log.warning("a bell comes back late", order_id=heard.bell.order_id, error=str(error))
