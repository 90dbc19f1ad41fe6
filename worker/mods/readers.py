"""Threads that read ahead, a bounded number of entities at the same time.

They are daemons: a source that keeps one of them waiting for ever keeps neither the export nor the worker from its end.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class NotInTime(Exception):
    """A call did not return in time. Its thread was given up."""


class Readers(Generic[T]):
    """Call `read` in `count` threads. A call that takes longer than `seconds` is given up."""

    def __init__(self, read: Callable[[str], T], count: int, seconds: float) -> None:
        self._read, self._count, self._seconds = read, count, seconds
        self._asked: SimpleQueue[tuple[str, Future[T]] | None] = SimpleQueue()
        self._threads = 0

    def ask(self, pi: str) -> "Future[T]":
        if self._threads < self._count:
            self._start()
        future: Future[T] = Future()
        self._asked.put((pi, future))
        return future

    def answer(self, future: "Future[T]") -> T:
        """Return what `read` returned, or raise what it raised. Raises NotInTime."""
        try:
            return future.result(self._seconds)
        except TimeoutError:
            self._threads -= 1  # the next question starts another
            raise NotInTime from None

    def close(self) -> None:
        for _ in range(self._threads):
            self._asked.put(None)

    def _start(self) -> None:
        self._threads += 1
        Thread(target=self._serve, name="reader", daemon=True).start()

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """A function of its own, so that a waiting thread keeps no answer alive."""
        if (asked := self._asked.get()) is None:
            return False
        pi, future = asked
        try:
            future.set_result(self._read(pi))
        except Exception as error:  # noqa: BLE001 (it is raised where the answer is wanted)
            future.set_exception(error)
        return True


@contextmanager
def reading_ahead(read: Callable[[str], T], count: int, seconds: float) -> Iterator[Readers[T]]:
    readers = Readers(read, count, seconds)
    try:
        yield readers
    finally:
        readers.close()
