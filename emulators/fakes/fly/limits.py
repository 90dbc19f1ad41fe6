"""Fly's limits of the rate of requests: a bucket for each action and app, or action and machine.

https://fly.io/docs/machines/api/working-with-machines-api/#rate-limits
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from emulators.fakes.fly.behaviour import FlyMethod


@dataclass(frozen=True, slots=True)
class Limit:
    """`rate` requests a second, and up to `burst` at once."""

    rate: float
    burst: int


ACTIONS: Final = Limit(rate=1, burst=3)
READS: Final = Limit(rate=5, burst=10)
LIMITS: Final = {
    FlyMethod.CREATE: ACTIONS,
    FlyMethod.STOP: ACTIONS,
    FlyMethod.DELETE: ACTIONS,
    FlyMethod.GET: READS,
    FlyMethod.LIST: READS,
    FlyMethod.WAIT: READS,
}


class FlyLimits:
    """Counts every request, and those above their limit. Any thread may call it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[tuple[FlyMethod, str], tuple[float, float]] = {}
        self._calls: Counter[FlyMethod] = Counter()
        self._above: Counter[FlyMethod] = Counter()

    def admit(self, method: FlyMethod, subject: str) -> bool:
        """Count a request about `subject`, an app or a machine; return whether it is within the limit."""
        limit, now = LIMITS[method], self._clock()
        with self._lock:
            self._calls[method] += 1
            left, since = self._left.get((method, subject), (float(limit.burst), now))
            left = min(limit.burst, left + (now - since) * limit.rate)
            admitted = left >= 1
            self._left[method, subject] = (left - admitted, now)
            self._above[method] += not admitted
            return admitted

    @property
    def calls(self) -> dict[str, int]:
        """Return how many requests of each method came, those above the limit included."""
        with self._lock:
            return {method.value: count for method, count in self._calls.items()}

    @property
    def above(self) -> dict[str, int]:
        """Return how many requests of each method were above the limit; a method without any is left out."""
        with self._lock:
            return {method.value: count for method, count in self._above.items() if count}
