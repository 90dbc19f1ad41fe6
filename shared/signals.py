"""Being told to end, for commands that run long: what they started is theirs to stop on the way out."""

import signal
import sys
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""What a supervisor sends, and a terminal that is closed. Ctrl-C is Python's own, and an exception already."""
TOLD: Final = 128
"""By a shell's convention the exit code of what a signal ended is that much more than the signal's number."""


def exit_when_told() -> None:
    """Have SIGTERM and SIGHUP end this process as an error does, so that whatever cleans up on an error does so.

    Once told, the way out is cut short by SIGKILL only. A signal that is ignored stays so: nohup(1) is meant.
    To be called on the main thread.
    """
    for number in heeded():
        signal.signal(number, _exit)


def heeded() -> tuple[signal.Signals, ...]:
    """Return those of ENDING that whoever started this process has not had it ignore."""
    return tuple(number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN)


def _exit(number: int, _frame: FrameType | None) -> None:
    for other in ENDING:
        signal.signal(other, _go_on)
    sys.exit(TOLD + number)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. Were the signal ignored instead, what is started from now on would be deaf to it, too (execve(2))."""
