"""Keeps the end of a program's output in a file that never grows beyond a limit."""

from contextlib import suppress
from pathlib import Path
from typing import Final

LIMIT: Final = 16 << 20
"""In bytes: a machine's files may be in its memory."""


class KeptOutput:
    """`file` has all of the output, or a line that says how much is left out and then at least half of the limit.

    A write may be half of the limit at most."""

    def __init__(self, file: Path, limit: int = LIMIT) -> None:
        self.file = file
        self._limit = limit
        self._size = self._left_out = self._heading = 0
        self._out = file.open("w+b", buffering=0)

    def write(self, data: bytes) -> None:
        """Append. What cannot be written, for example on a full disk, is lost: the program goes on."""
        with suppress(OSError):
            if self._size + len(data) > self._limit:
                self._cut()
            self._size += self._out.write(data)

    def close(self) -> None:
        self._out.close()

    def _cut(self) -> None:
        """Leave out the first half, and say so in the first line."""
        keep = self._limit // 2
        self._out.seek(-min(keep, self._size - self._heading), 2)
        last = self._out.read()
        self._left_out += self._size - self._heading - len(last)
        heading = f"[the first {self._left_out} bytes of the output are left out]\n".encode()
        self._out.seek(0)
        self._out.truncate()
        self._heading = len(heading)
        self._size = self._out.write(heading + last)
