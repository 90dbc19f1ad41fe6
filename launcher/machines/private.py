"""Makes files and folders that only their owner may read, whatever the process's umask is."""

import os
from itertools import takewhile
from pathlib import Path


def opener(path: str, flags: int) -> int:
    """Open a file for `open()`, and create it with mode 0600 if it does not exist."""
    return os.open(path, flags, 0o600)


def make_folder(folder: Path) -> None:
    """Make a folder with mode 0700, and each missing one above it. One that exists stays as it is. Raises OSError."""
    for missing in reversed(list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))):
        try:
            missing.mkdir(mode=0o700)
        except FileExistsError:
            if not missing.is_dir():  # else another process has made it meanwhile
                raise
