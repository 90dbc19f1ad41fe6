"""Doing the same for many orders side by side, for so long and no longer."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Final, TypeVar

from functions.http import logs

AT_ONCE: Final = 16

T = TypeVar("T")
R = TypeVar("R")


def together(work: Callable[[T], R], items: Sequence[T], seconds: float) -> list[R]:
    """Return what was done in time, in the order of the items; they are begun in that order, AT_ONCE at a time.

    One that the store does not answer for, or that nobody foresaw, keeps no other from being done. What is still under
    way goes on by itself, and its result is nobody's.
    """
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        begun = [pool.submit(copy_context().run, work, item) for item in items]
        done, _ = wait(begun, max(seconds, 0))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in begun if future in done and _went_well(future)]


def _went_well(future: Future[R]) -> bool:
    error = future.exception()
    if error is not None:
        logs.LOG.error("one of many failed, and the others went on", exc_info=error)
    return error is None
