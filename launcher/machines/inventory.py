"""The machines' directories of a state directory: lists them, finishes removals, and quarantines what is unclear."""

import errno
import os
import shutil
from pathlib import Path
from typing import Final

import structlog

from launcher.machines.directory import REMOVED, VMS
from launcher.machines.records import PARTIAL
from shared.log_events import LogEvent

QUARANTINE: Final = "quarantine"
FILE_SYSTEMS_OWN: Final = "lost+found"
MAX_QUARANTINED: Final = 1000
"""The number of quarantined entries with one name."""

log = structlog.get_logger()


def remaining(state: Path) -> list[Path]:
    """Remove directories that are half written or half removed, and return the machines' others.

    Raises OSError if they cannot be listed.
    """
    for path in _entries(state):
        if path.name.startswith(".") and path.name.endswith((PARTIAL, REMOVED)):
            _finish_removing(path)
    return listed(state)


def listed(state: Path) -> list[Path]:
    """Return the machines' directories, except those that are half written or half removed.

    Raises OSError if they cannot be listed: an empty list would give up the orders of running machines.
    """
    return [path for path in _entries(state) if not path.name.startswith(".") and path.name != FILE_SYSTEMS_OWN]


def quarantine(path: Path) -> Path:
    """Move an entry that cannot be explained to the quarantine, and return its new path. Raises OSError.

    Nothing is copied: if `vms` is a file system of its own, the quarantine is a hidden folder in it.
    """
    try:
        return _moved(path, path.parent.parent / QUARANTINE)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    return _moved(path, path.parent / f".{QUARANTINE}")


def _entries(state: Path) -> list[Path]:
    try:
        return sorted((state / VMS).iterdir())
    except FileNotFoundError:
        return []


def _finish_removing(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        log.error(
            LogEvent.DIRECTORY_NOT_REMOVED,
            message="A half removed directory could not be removed; the next start tries again.",
            path=str(path),
            error=error.strerror,
        )


def _moved(path: Path, folder: Path) -> Path:
    """Move into a folder, under a name that is free there. Raises OSError."""
    folder.mkdir(exist_ok=True, mode=0o700)
    names = (path.name, *(f"{path.name}.{number}" for number in range(1, MAX_QUARANTINED)))
    free = next((name for name in names if not os.path.lexists(folder / name)), None)
    if free is None:
        raise FileExistsError(errno.EEXIST, "There are too many of this name", str(folder / path.name))
    return path.rename(folder / free)
