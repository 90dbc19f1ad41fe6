"""Time and randomness as an argument, which tests replace."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Clock:
    """`pause(seconds, interrupt)` waits, and returns at once if the interrupt is or becomes set."""

    monotonic: Callable[[], float]
    jitter: Callable[[], float]
    """Returns a number from 0 (included) to 1 (excluded)."""
    pause: Callable[[float, threading.Event], None]


def _pause(seconds: float, interrupt: threading.Event) -> None:
    interrupt.wait(seconds)


SYSTEM: Final = Clock(time.monotonic, random.random, _pause)
