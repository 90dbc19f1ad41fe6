"""Lets one process at a time work in a folder, and removes what an interrupted one left in it."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK: Final = ".lock"
UNFINISHED: Final = (".archive-*", ".building-*", ".fetching-*")
"""The names of unfinished work."""


@contextmanager
def alone_in(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Make the folder, wait until no other process works in it, and remove what an earlier one left unfinished.

    The kernel releases the lock when its process ends, however that happens: flock(2).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"Waiting for another build in {folder}.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for path in (path for pattern in UNFINISHED for path in folder.glob(pattern)):
            shutil.rmtree(path)
        yield
