"""Limits how often something may be done at one instance."""

import threading
from collections.abc import Callable
from datetime import datetime


class TokenBucket:
    """Fills with `rate` tokens a second, up to `most`; it is full at first. Threads may share it."""

    def __init__(self, rate: float, most: float, clock: Callable[[], datetime]) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._lock = threading.Lock()
        self._tokens, self._filled_at = most, clock()

    def try_take(self) -> float:
        """Take a token, and return 0; if there is none, return the seconds until there is one, and take nothing."""
        with self._lock:
            self._fill()
            if self._tokens >= 1:
                self._tokens -= 1
                return 0
            return (1 - self._tokens) / self._rate

    def wait(self) -> float:
        """Return the seconds until there is a token; 0 if there is one."""
        with self._lock:
            self._fill()
            return max((1 - self._tokens) / self._rate, 0)

    def take(self, count: float) -> None:
        """Take tokens, even more than there are: the bucket must fill up from below zero then. A negative `count` gives
        tokens back.
        """
        with self._lock:
            self._fill()
            self._tokens = min(self._tokens - count, self._most)

    def _fill(self) -> None:
        now = self._clock()
        passed = max((now - self._filled_at).total_seconds(), 0)
        self._tokens, self._filled_at = min(self._tokens + passed * self._rate, self._most), now
