"""Paces requests, so that Fly's limits of their rate are kept and nobody is refused for them.

https://fly.io/docs/machines/api/working-with-machines-api/#rate-limits
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """The kinds of requests, each of which has limits of its own."""

    CREATE = "create"
    STOP = "stop"
    DELETE = "delete"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Pace:
    """`rate` requests a second in the long run, and up to `burst` at once after a rest."""

    rate: float
    burst: int


WRITES: Final = Pace(rate=1, burst=2)
READS: Final = Pace(rate=4, burst=8)
PACES: Final = {Action.CREATE: WRITES, Action.STOP: WRITES, Action.DELETE: WRITES, Action.READ: READS}
"""Each burst is smaller than Fly's (3, and 10 for reads), because the network may bring requests closer together."""


class Pacer:
    """Gives each request its time, first come first served. Any thread may call it.

    It is a generic cell rate algorithm: `_expected` is when the next request would come at an even rate, and a request
    may come earlier than that by the burst.
    """

    def __init__(self, pace: Pace, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._interval = 1 / pace.rate
        self._tolerance = (pace.burst - 1) * self._interval
        self._monotonic, self._sleep = monotonic, sleep
        self._lock = threading.Lock()
        self._expected = float("-inf")

    def wait(self) -> None:
        """Return when the caller may send one request."""
        with self._lock:
            now = self._monotonic()
            at = max(now, self._expected - self._tolerance)
            self._expected = max(self._expected, at) + self._interval
        if at > now:
            self._sleep(at - now)

    def rest(self, seconds: float) -> None:
        """Let no further request come for this time: the server asked for it."""
        with self._lock:
            self._expected = max(self._expected, self._monotonic() + seconds + self._tolerance)


class Pacers:
    """The pacers of one app's requests."""

    def __init__(self, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._pacers = {action: Pacer(pace, monotonic, sleep) for action, pace in PACES.items()}

    def of(self, action: Action) -> Pacer:
        return self._pacers[action]
