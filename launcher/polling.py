"""The polling loop, for a launcher without Pub/Sub: one claim of the next order at a time, while there is room."""

from typing import Final

from launcher.claims import Claims
from launcher.clock import Clock
from launcher.outage import Backoff, Outage
from launcher.runs import Runs
from launcher.slots import Slot, Slots
from shared.control_plane import Refused, Unreachable

REST_SECONDS: Final = 1.0
"""At most this long, at random, between two claims that brought nothing: launchers must not ask in step."""


class PollingLoop:
    def __init__(self, claims: Claims, runs: Runs, slots: Slots, outage: Outage, clock: Clock) -> None:
        self._claims, self._runs, self._slots = claims, runs, slots
        self._outage, self._clock = outage, clock
        self._backoff = Backoff(clock.jitter)

    def run(self) -> None:
        """Claim until the slots close."""
        while (slot := self._slots.reserve_when_free()) is not None:
            self._clock.pause(self._claim(slot), self._slots.closed)

    def _claim(self, slot: Slot) -> float:
        """Claim once, and return the seconds to wait before the next."""
        if self._slots.closed.is_set():
            self._slots.free(slot)
            return 0
        asked_at = self._clock.monotonic()
        try:
            claimed = self._claims.next()
        except (Unreachable, Refused) as error:
            self._slots.free(slot)
            self._outage.goes_on(error)
            return self._backoff.next()
        self._outage.ends()
        self._backoff.reset()
        if claimed is None:
            self._slots.free(slot)
            return REST_SECONDS * self._clock.jitter()
        self._runs.begin(claimed, slot, asked_at)
        return 0
