"""Limits how often something may be tried at one instance."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from functions.domain.refusals import QuotaExceeded


@dataclass(slots=True)
class TokenBucket:
    """A token bucket: `a_minute` tries come back every minute, and no more than that many are saved.

    Tries beyond it are refused, and cost nothing of what comes back. `quota` names the limit.
    """

    quota: str
    a_minute: int
    clock: Callable[[], datetime]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: float | None = None
    _counted_at: datetime | None = None

    def take(self) -> None:
        """Use up one try. Raises QuotaExceeded, with the time until the next one comes back."""
        with self._lock:
            now = self.clock()
            passed = 0.0 if self._counted_at is None else max((now - self._counted_at).total_seconds(), 0)
            left = self.a_minute if self._left is None else self._left
            left = min(left + passed * self.a_minute / 60, self.a_minute)
            self._counted_at, self._left = now, left
            if left >= 1:
                self._left = left - 1
                return
        wait = math.ceil((1 - left) * 60 / self.a_minute)
        raise QuotaExceeded(self.quota, f"At most {self.a_minute} a minute are taken; try again in {wait} s.", wait)
