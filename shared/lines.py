"""Writes log lines without ever failing, or waiting long, because of whoever reads them."""

import io
import os
import select
import threading
from collections.abc import Callable
from typing import Final, TextIO

READER_TIMEOUT_SECONDS: Final = 1.0
"""How long a line waits for a slow reader. After a line was lost, no other waits until the reader is back."""
MAX_WRITE_BYTES: Final = select.PIPE_BUF
"""A pipe that poll(2) calls writable takes this many bytes without blocking the write."""


class Lines:
    """Drops a line if it cannot be written, because the reader is gone or slow, or its disk is full.

    It bypasses Python's buffers, which keep what could not be written, and fail again when the process exits.
    """

    def __init__(self, file: Callable[[], TextIO | None]) -> None:
        """`file` is called for each line. It returns None if the process was started without that stream."""
        self.lost = 0
        """How many lines were lost since the last one that was written."""
        self._file = file
        self._lock = threading.Lock()
        self._torn = False

    def write(self, line: str) -> None:
        """Write a whole line. It raises nothing, and waits for READER_TIMEOUT_SECONDS at most."""
        with self._lock:
            try:
                written = self._write(line)
            except (OSError, ValueError):  # the reader is gone, the disk is full, the file is closed
                written = False
            self.lost = 0 if written else self.lost + 1

    def flush(self) -> None:
        """Do nothing: lines are not buffered."""

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
        patience = 0 if self.lost else READER_TIMEOUT_SECONDS * 1000
        writable = select.poll()
        writable.register(descriptor, select.POLLOUT)
        left = b"\n" + left if self._torn else left
        while left:
            if not writable.poll(patience):
                return False
            left = left[os.write(descriptor, left[:MAX_WRITE_BYTES]) :]
            self._torn = bool(left)
        return True


def _descriptor(file: TextIO) -> int | None:
    """Return the file's descriptor, or None if it has none. Raises ValueError if the file is closed."""
    try:
        return file.fileno()
    except io.UnsupportedOperation:
        return None
