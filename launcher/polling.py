"""The polling loop, for a launcher without Pub/Sub: one claim of the next order at a time, while there is room."""

from typing import Final

from launcher.admission import Admission, Reservation
from launcher.claims import Claims
from launcher.clock import Clock
from launcher.outage import Backoff, Outage
from launcher.runs import Runs
from shared.control_plane import Refused, Unreachable

REST_SECONDS: Final = 1.0
"""At most this long, at random, between two claims that brought nothing: launchers must not ask in step."""


class PollingLoop:
    def __init__(self, claims: Claims, runs: Runs, admission: Admission, outage: Outage, clock: Clock) -> None:
        self._claims, self._runs, self._admission = claims, runs, admission
        self._outage, self._clock = outage, clock
        self._backoff = Backoff(clock.jitter)

    def run(self) -> None:
        """Claim until admission closes."""
        while (room := self._admission.reserve_when_free()) is not None:
            self._clock.pause(self._claim(room), self._admission.closed)

    def _claim(self, room: Reservation) -> float:
        """Claim once, and return the seconds to wait before the next."""
        if self._admission.closed.is_set():
            self._admission.free(room)
            return 0
        asked_at = self._clock.monotonic()
        try:
            claimed = self._claims.next()
        except (Unreachable, Refused) as error:
            self._admission.free(room)
            self._outage.goes_on(error)
            return self._backoff.next()
        self._outage.ends()
        self._backoff.reset()
        if claimed is None:
            self._admission.free(room)
            return REST_SECONDS * self._clock.jitter()
        self._runs.begin(claimed, room, asked_at)
        return 0
