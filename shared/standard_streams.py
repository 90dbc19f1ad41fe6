"""Standard streams that a program can write to, whatever it was started with."""

import io
import os
import sys
from typing import Final

STREAMS: Final = 3


def prepare() -> None:
    """Put a null device where a stream was closed, and have what a stream's encoding lacks replaced.

    A closed stream's descriptor would be given to the next file that is opened, and prints would land in that.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < STREAMS:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (it lives as long as we do)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
