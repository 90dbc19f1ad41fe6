"""One process at a time in a folder, and nothing left in it of one that was interrupted."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK: Final = ".lock"
UNFINISHED: Final = (".archive-*", ".building-*", ".fetching-*")
"""How unfinished work is named."""


@contextmanager
def alone_in(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Make the folder, wait until no other process works in it, and clear away what an earlier one left unfinished.

    The kernel gives the lock back when its process ends, however that happens: flock(2).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"Waiting for another build in {folder}.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for path in (path for pattern in UNFINISHED for path in folder.glob(pattern)):
            shutil.rmtree(path)
        yield
