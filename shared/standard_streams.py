"""Makes the standard streams usable, however the program was started."""

import io
import os
import sys
from typing import Final

STREAMS: Final = 3


def prepare() -> None:
    """Open the null device for each closed stream, and replace characters that a stream's encoding lacks.

    Otherwise the next file that is opened would get the closed stream's descriptor, and prints would end up in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < STREAMS:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (it stays open until the process exits)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
