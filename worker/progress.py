"""Reports a program's progress to the control plane, from a thread of its own: it never slows or fails the program."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from logging import Logger
from typing import Final

from worker.callbacks import Callbacks, NotUnderstood, ReportRefused
from worker.network import NoHttpAnswer

INTERVAL_SECONDS: Final = 3.0
"""At most one report in this time."""


class ProgressReports:
    """Called with counts, it passes them on, or drops them if the last ones were just passed on.

    `clock` returns seconds.
    """

    def __init__(self, reports: Callbacks, log: Logger, clock: Callable[[], float]) -> None:
        self._reports, self._log, self._clock = reports, log, clock
        self._next = clock() + INTERVAL_SECONDS
        self._latest: Mapping[str, int] = {}
        self._wake = threading.Event()
        self._ended = False

    def __call__(self, counts: Mapping[str, int]) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + INTERVAL_SECONDS
            self._latest = counts
            self._wake.set()

    def send_all(self) -> None:
        """Send counts until `end` is called, or until the control plane refuses them: an earlier version may."""
        while self._wake.wait() and not self._ended:
            self._wake.clear()
            try:
                self._reports.progress(self._latest)
            except (NoHttpAnswer, NotUnderstood) as error:
                self._log.info("progress was not reported: %s", error)
            except ReportRefused as refused:  # if the lease is lost, the watch over the lease ends the worker
                self._log.info("progress is reported no more: %s", refused)
                return

    def end(self) -> None:
        self._ended = True
        self._wake.set()


@contextmanager
def reported(reports: Callbacks, log: Logger, clock: Callable[[], float]) -> Iterator[ProgressReports]:
    """Yield what a program calls with its counts."""
    progress = ProgressReports(reports, log, clock)
    sender = threading.Thread(target=progress.send_all, name="progress", daemon=True)
    sender.start()
    try:
        yield progress
    finally:
        progress.end()
        sender.join()  # the caller closes the HTTP client next
