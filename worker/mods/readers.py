"""Threads that read ahead, a bounded number of entities at the same time.

They are daemons: a source that keeps one of them waiting for ever keeps neither the export nor the worker from its end.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class NotInTime(Exception):
    """A call did not return in time. Its thread was given up."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A call raised this error."""

    error: Exception


class Question(Generic[T]):
    """A call that was asked for. Its answer comes once."""

    def __init__(self, pi: str) -> None:
        self.pi = pi
        self.answer: SimpleQueue[T | Failed] = SimpleQueue()


class Readers(Generic[T]):
    """Call `read` in `count` threads. A call that takes longer than `seconds` is given up."""

    def __init__(self, read: Callable[[str], T], count: int, seconds: float) -> None:
        self._read, self._count, self._seconds = read, count, seconds
        self._asked: SimpleQueue[Question[T] | None] = SimpleQueue()
        self._threads = 0
        self._closed = False

    def ask(self, pi: str) -> Question[T]:
        if self._threads < self._count:
            self._start()
        question = Question[T](pi)
        self._asked.put(question)
        return question

    def answer(self, question: Question[T]) -> T:
        """Return what `read` returned, or raise what it raised. Raises NotInTime."""
        try:
            answer = question.answer.get(timeout=self._seconds)
        except Empty:
            self._threads -= 1  # the next question starts another
            raise NotInTime from None
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def close(self) -> None:
        """Read nothing more that was asked for; a call that has begun goes on."""
        self._closed = True
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
        if (question := self._asked.get()) is None or self._closed:
            return False
        try:
            question.answer.put(self._read(question.pi))
        except Exception as error:  # noqa: BLE001 (it is raised where the answer is wanted)
            question.answer.put(Failed(error))
        return True


@contextmanager
def reading_ahead(read: Callable[[str], T], count: int, seconds: float) -> Iterator[Readers[T]]:
    readers = Readers(read, count, seconds)
    try:
        yield readers
    finally:
        readers.close()
