"""Ends a long-running command on SIGTERM and SIGHUP, so that it stops what it started on the way out."""

import signal
import sys
from types import FrameType
from typing import Final

from shared.exit_codes import SIGNALLED

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""A supervisor sends the first, a closed terminal the second. Python turns Ctrl-C into an exception by itself."""


def exit_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise SystemExit, so that everything that cleans up after an error does so.

    After the first signal only SIGKILL cuts the clean-up short. A signal that this process was started to ignore stays
    ignored, for nohup(1). Call it on the main thread.
    """
    for number in heeded():
        signal.signal(number, _exit)


def heeded() -> tuple[signal.Signals, ...]:
    """Return the signals of ENDING that this process was not started to ignore."""
    return tuple(number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN)


def _exit(number: int, _frame: FrameType | None) -> None:
    for other in ENDING:
        signal.signal(other, _go_on)
    sys.exit(SIGNALLED + number)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. If the signal were ignored instead, processes started from now on would ignore it too (execve(2))."""
