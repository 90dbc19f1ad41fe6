"""Runs the same action on many items side by side, within a time budget."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Final, TypeVar

import structlog

from shared.log_events import LogEvent

MAX_THREADS: Final = 16

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger()


def run_all(action: Callable[[T], R], items: Sequence[T], seconds: float) -> list[R]:
    """Return the results that were ready in time, in the items' order. At most MAX_THREADS run at once, in that order.

    A failure is logged and does not affect the other items. Actions that still run at the deadline go on, and their
    results are discarded.
    """
    pool = ThreadPoolExecutor(MAX_THREADS)
    try:
        begun = [pool.submit(copy_context().run, action, item) for item in items]
        done, _ = wait(begun, max(seconds, 0))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    results = list[R]()
    for future in begun:
        if future not in done:
            continue
        if (error := future.exception()) is None:
            results.append(future.result())
        else:
            message = "One of several actions failed; the others continued."
            log.error(LogEvent.ACTION_FAILED, message=message, exc_info=error)
    return results
