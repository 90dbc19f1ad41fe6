"""The worker's own fence: a machine whose launcher is gone for good must not run on for ever.

Reporting *started* again changes nothing where the lease stands; where it does not, the answer says so.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import Logger
from typing import Final

from shared.domain.order import FINAL
from worker.callbacks import Callbacks, NotUnderstood, ReportRefused
from worker.network import NoAnswer

EVERY_SECONDS: Final = 30.0


@contextmanager
def watched(reports: Callbacks, end: Callable[[], None], log: Logger, every: float = EVERY_SECONDS) -> Iterator[None]:
    """Ask every so many seconds whether the order is still this worker's; call `end` once where it is not.

    No answer is no reason to end, nor is one that is not understood, be it a proxy's or a later version's: then the
    launcher, which keeps the lease's time, stops the machine.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every):
            if not _ours(reports, log) and not over.is_set():
                end()
                return

    watcher = threading.Thread(target=watch, name="lease", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()  # whoever comes after closes the HTTP client


def _ours(reports: Callbacks, log: Logger) -> bool:
    try:
        state = reports.started_again()
    except (NoAnswer, NotUnderstood):
        return True
    except ReportRefused as refused:
        log.error("stopping: the order is not this worker's any more: %s", refused)
        return False
    if state in FINAL:
        log.error("stopping: the order is %s", state)
    return state not in FINAL
