"""What others than their owner may do with files and folders."""

import os
import stat
from pathlib import Path
from typing import Final

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
PUBLIC: Final = {"images", "emulators"}
"""Downloads and builds that hold no secret."""


def readable(folder: Path) -> list[str]:
    """Return the files and folders, this one included, that others than their owner may use in any way.

    A launcher may be at work in it: what is removed meanwhile is passed over. Raises FileNotFoundError if the folder
    itself does not exist.
    """
    inside = [Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files)]
    private = [path for path in inside if not PUBLIC & set(path.relative_to(folder).parts)]
    modes = {folder: folder.stat().st_mode, **{path: _mode(path) for path in private}}
    return [f"{path} {oct(mode)}" for path, mode in modes.items() if mode & OTHERS]


def _mode(path: Path) -> int:
    """Return the mode of a file or folder; 0, which lets nobody in, if it is a link or is gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return 0
    return 0 if stat.S_ISLNK(mode) else mode
