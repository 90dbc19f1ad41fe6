"""A control plane, or a broker, that does not answer: how long to wait before the next try, and when to say so."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 30.0
SAY_EVERY_SECONDS: Final = 60.0

log = structlog.get_logger()


class Backoff:
    """Waits that double from 1 s to 30 s, each cut by up to half at random: launchers must not return in step."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._next = FIRST_SECONDS

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        seconds, self._next = self._next, min(self._next * 2, MOST_SECONDS)
        return seconds * (1 - self._jitter() / 2)

    def reset(self) -> None:
        self._next = FIRST_SECONDS


class Outage:
    """One kind of request that a server of the launcher's does not answer, told once a minute.

    Each kind has its own: that claims are answered must not say that heartbeats are. `asked` names it in the log.
    """

    def __init__(
        self, monotonic: Callable[[], float], server: str = "the control plane", asked: str = "requests"
    ) -> None:
        self._monotonic, self._server, self._asked = monotonic, server, asked
        self._lock = threading.Lock()
        self._said: float | None = None
        self._tries = 0

    def goes_on(self, error: Exception) -> None:
        """A try failed."""
        with self._lock:
            self._tries += 1
            now = self._monotonic()
            if self._said is not None and now - self._said < SAY_EVERY_SECONDS:
                return
            self._said = now
            said = {"asked": self._asked, "error": str(error), "failed_tries": self._tries}
            log.warning(f"{self._server} does not serve this launcher", **said)

    def ends(self) -> None:
        """A try was answered."""
        with self._lock:
            if self._said is not None:
                log.info(f"{self._server} serves this launcher again", asked=self._asked, failed_tries=self._tries)
            self._said, self._tries = None, 0
