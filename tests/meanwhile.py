"""Fixtures that come between a use case and a port: a faster request, a port that fails, a port that hangs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest

ANY_CALL = object()


class Meanwhile(Protocol):
    def __call__(self, target: object, method: str, action: Callable[[], object], *, after: bool = False) -> None:
        """Run `action` once: just before `target`'s next call of `method`, or just after it.

        If the action raises before the call, the call is not made: its caller "dies" there, once.
        """


class Failing(Protocol):
    def __call__(self, target: object, method: str, error: Exception, *, only: object = ANY_CALL) -> Callable[[], None]:
        """Have calls of `method` raise `error`: all calls, or those that have `only` among their arguments.

        Returns a function that ends this.
        """


class Hanging(Protocol):
    def __call__(self, target: object, method: str, *, only: object) -> None:
        """Have calls of `method` that have `only` among their arguments wait until the test is over."""


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meanwhile]:
    with coming_between(monkeypatch) as install:
        yield install


@contextmanager
def coming_between(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meanwhile]:
    """The original method is back when the action runs. Raises AssertionError at the end if an action never ran."""
    waiting: list[str] = []
    lock = threading.Lock()

    def install(target: object, method: str, action: Callable[[], object], *, after: bool = False) -> None:
        original, name = getattr(target, method), f"{type(target).__name__}.{method}"
        waiting.append(name)

        def is_first() -> bool:
            with lock:
                if name not in waiting:
                    return False
                waiting.remove(name)
                monkeypatch.setattr(target, method, original)
                return True

        def call(*args: Any, **kwargs: Any) -> Any:
            first = is_first()
            if first and not after:
                action()
            result = original(*args, **kwargs)
            if first and after:
                action()
            return result

        monkeypatch.setattr(target, method, call)

    yield install
    assert not waiting, f"{', '.join(waiting)} was never called, so nothing happened meanwhile"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    def install(target: object, method: str, error: Exception, *, only: object = ANY_CALL) -> Callable[[], None]:
        original = getattr(target, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            if only is ANY_CALL or only in args:
                raise error
            return original(*args, **kwargs)

        monkeypatch.setattr(target, method, call)
        return lambda: monkeypatch.setattr(target, method, original)

    return install


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    over = threading.Event()

    def install(target: object, method: str, *, only: object) -> None:
        original = getattr(target, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            if only in args:
                over.wait()
            return original(*args, **kwargs)

        monkeypatch.setattr(target, method, call)

    yield install
    over.set()
