"""Runs calls at the same time."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from functions.domain.refusals import Refusal

T = TypeVar("T")

MAX_SECONDS = 300.0


def at_once(calls: Iterable[Callable[[], T]]) -> list[T | Refusal]:
    """Make each call on a thread of its own, all at the same moment; return their answers or refusals, in order."""
    waiting = list(calls)
    barrier = threading.Barrier(len(waiting))

    def run(call: Callable[[], T]) -> T | Refusal:
        barrier.wait(MAX_SECONDS)
        try:
            return call()
        except Refusal as refusal:
            return refusal

    with ThreadPoolExecutor(len(waiting)) as pool:
        return list(pool.map(run, waiting, timeout=MAX_SECONDS))
