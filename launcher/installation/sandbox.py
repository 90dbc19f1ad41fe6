"""What the unit's sandbox keeps from the launcher, which is root without the right to read other users' files."""

import os
import stat
from pathlib import Path
from typing import Final

HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108  # names them, and uses none
"""ProtectHome= and PrivateTmp= of the unit (systemd.exec(5))."""


def is_hidden(path: Path) -> bool:
    """Return whether the unit shows its launcher nothing at this path."""
    return any(path.is_relative_to(hidden) for hidden in HIDDEN)


def closed(path: Path) -> Path | None:
    """Return what a process of this user cannot read if it has no capability: the path, or a folder above it.

    None: it can read the path. Raises OSError if there is nothing at the path.
    """
    real = path.resolve(strict=True)
    for folder in reversed(real.parents):
        if not _allows(folder, stat.S_IXOTH):
            return folder
    needed = stat.S_IROTH | (stat.S_IXOTH if real.is_dir() else 0)
    return None if _allows(real, needed) else real


def _allows(path: Path, needed: int) -> bool:
    """Return whether the mode gives this user `needed`, the bits of others; path_resolution(7)."""
    status = path.stat()
    shift = 6 if status.st_uid == os.geteuid() else 3 if status.st_gid == os.getegid() else 0
    return status.st_mode >> shift & needed == needed
