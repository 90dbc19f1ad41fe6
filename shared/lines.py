"""Lines of a log, written so that whoever writes them is neither ended nor held up by their reader."""

import io
import os
import select
import threading
from collections.abc import Callable
from typing import Final, TextIO

PATIENCE_SECONDS: Final = 1.0
"""How long a line waits for a reader that is behind; once one is lost, none waits until the reader is back."""
AT_ONCE: Final = select.PIPE_BUF
"""Bytes of one write: so many fit into any pipe that poll(2) calls writable, and the write does not block."""


class Lines:
    """Lines for a reader that may be gone or behind, or whose disk may be full: a line that cannot be written is lost.

    They are written past Python's buffers, which keep what cannot be written and fail again at the end.
    """

    def __init__(self, file: Callable[[], TextIO | None]) -> None:
        """`file` is asked for at each line; it returns None if the process was started without it."""
        self.lost = 0
        """How many lines were lost since one was last written."""
        self._file = file
        self._lock = threading.Lock()
        self._torn = False

    def write(self, line: str) -> None:
        """Write a whole line. Raises nothing, and waits for PATIENCE_SECONDS at most."""
        with self._lock:
            try:
                written = self._write(line)
            except (OSError, ValueError):  # the reader is gone, the disk is full, the file is closed
                written = False
            self.lost = 0 if written else self.lost + 1

    def flush(self) -> None:
        """Do nothing: no line is kept back."""

    def _write(self, line: str) -> bool:
        """Return whether the line was written. Raises OSError, ValueError."""
        file = self._file()
        if file is None:
            return False
        descriptor = _descriptor(file)
        if descriptor is not None:
            return self._put(descriptor, line.encode(errors="backslashreplace"))
        file.write(line)
        file.flush()
        return True

    def _put(self, descriptor: int, left: bytes) -> bool:
        patience = 0 if self.lost else PATIENCE_SECONDS * 1000
        writable = select.poll()
        writable.register(descriptor, select.POLLOUT)
        left = b"\n" + left if self._torn else left
        while left:
            if not writable.poll(patience):
                return False
            left = left[os.write(descriptor, left[:AT_ONCE]) :]
            self._torn = bool(left)
        return True


def _descriptor(file: TextIO) -> int | None:
    """Return the file's descriptor; None for a file that has none. Raises ValueError if it is closed."""
    try:
        return file.fileno()
    except io.UnsupportedOperation:
        return None
