"""Waiting for what nobody tells of, such as files, processes and answers: looked at until it is there, or too late."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.25


def await_value(look: Callable[[], T | None], what: str, seconds: float = SECONDS) -> T:
    """Return the first value that is not None. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while (value := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"There was not {what} in {seconds:g} s.")
        time.sleep(LOOK_SECONDS)
    return value
