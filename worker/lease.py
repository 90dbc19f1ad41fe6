"""Ends the worker once its lease is lost: a machine whose launcher is gone must not run for ever.

It reports *started* again and again. That changes nothing while the lease is valid, and is refused once it is lost.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import Logger
from typing import Final

from shared.domain.order import FINAL
from worker.callbacks import Callbacks, NotUnderstood, ReportRefused
from worker.network import NoHttpAnswer

INTERVAL_SECONDS: Final = 30.0


@contextmanager
def ended_when_lost(
    reports: Callbacks, end: Callable[[], None], log: Logger, interval: float = INTERVAL_SECONDS
) -> Iterator[None]:
    """Check every `interval` seconds that the order is still this worker's, and call `end` once if it is not.

    If there is no answer, or one that cannot be understood (a proxy's, or a later version's), the worker goes on: the
    launcher also keeps the lease's time, and stops the machine.
    """
    finished = threading.Event()

    def check() -> None:
        while not finished.wait(interval):
            if not _still_held(reports, log) and not finished.is_set():
                end()
                return

    checker = threading.Thread(target=check, name="lease", daemon=True)
    checker.start()
    try:
        yield
    finally:
        finished.set()
        checker.join()  # the caller closes the HTTP client next


def _still_held(reports: Callbacks, log: Logger) -> bool:
    try:
        state = reports.started_again()
    except (NoHttpAnswer, NotUnderstood):
        return True
    except ReportRefused as refused:
        log.error("stopping: the order is no longer this worker's: %s", refused)
        return False
    if state in FINAL:
        log.info("stopping: the order is %s", state)
    return state not in FINAL
