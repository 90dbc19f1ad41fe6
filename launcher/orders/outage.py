"""What to do if the control plane or the broker does not answer: how long to wait, and when to log it."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from shared.client_errors import QuotaExceeded
from shared.log_events import LogEvent

FIRST_SECONDS: Final = 1.0
MAX_SECONDS: Final = 30.0
LOG_INTERVAL_SECONDS: Final = 60.0

log = structlog.get_logger()


class Backoff:
    """Waits that double from 1 s to 30 s. Each is cut by up to half at random, so that launchers do not return
    together.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._next = FIRST_SECONDS

    def next(self, error: Exception | None = None) -> float:
        """Return the seconds to wait before the next try: at least those that `error` asks for, if it does."""
        seconds, self._next = self._next, min(self._next * 2, MAX_SECONDS)
        asked = error.retry_seconds if isinstance(error, QuotaExceeded) else 0.0
        return max(seconds * (1 - self._jitter() / 2), asked)

    def reset(self) -> None:
        self._next = FIRST_SECONDS


class Outage:
    """Logs once a minute that a server does not answer one kind of `requests`, and once that it answers again.

    Each kind has its own: answered claims must not end an outage of heartbeats.
    """

    def __init__(
        self, monotonic: Callable[[], float], server: str = "the control plane", requests: str = "requests"
    ) -> None:
        self._monotonic, self._server, self._requests = monotonic, server, requests
        self._lock = threading.Lock()
        self._logged_at: float | None = None
        self._failed_tries = 0

    def failed(self, error: Exception) -> None:
        """Note a failed try."""
        with self._lock:
            self._failed_tries += 1
            now = self._monotonic()
            if self._logged_at is not None and now - self._logged_at < LOG_INTERVAL_SECONDS:
                return
            self._logged_at = now
            log.warning(
                LogEvent.SERVER_UNAVAILABLE,
                message=f"Requests to {self._server} fail; the launcher keeps trying.",
                server=self._server,
                requests=self._requests,
                error=str(error),
                failed_tries=self._failed_tries,
            )

    def answered(self) -> None:
        """Note an answered try."""
        with self._lock:
            if self._logged_at is not None:
                log.info(
                    LogEvent.SERVER_AVAILABLE,
                    message=f"Requests to {self._server} are answered again.",
                    server=self._server,
                    requests=self._requests,
                    failed_tries=self._failed_tries,
                )
            self._logged_at, self._failed_tries = None, 0
