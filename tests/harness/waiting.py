"""Waiting for a condition that nothing announces, such as a file, a process or an answer: the one place that polls."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

MAX_SECONDS: Final = 300.0
ANSWER_SECONDS: Final = 120.0
"""How long a test waits for one answer of a server: on a busy machine longer than a library would by itself."""
POLL_SECONDS: Final = 0.1
MAX_POLL_SECONDS: Final = 0.5
LATER: Final = 0.1
"""How much longer than it must a long wait may last, as a share: each read takes time from what is waited for."""


def await_value(read: Callable[[], T | None], what: str, seconds: float = MAX_SECONDS) -> T:
    """Call `read` until it returns something true, and return that. Raises TimeoutError, which names `what`."""
    begun = time.monotonic()
    while not (value := read()):
        waited = time.monotonic() - begun
        if waited > seconds:
            raise TimeoutError(f"Waited {seconds:g} s in vain for {what}; the last read found {value!r}.")
        time.sleep(min(max(POLL_SECONDS, LATER * waited), MAX_POLL_SECONDS))
    return value
