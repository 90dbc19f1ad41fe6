"""The project directory of a session: chosen, checked against those that the launcher allows, and opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.domain.order import Reason
from shared.guest.config import Executor
from worker.programs import ProgramFailed

ALLOWED: Final = "LAUNCHYARD_PROJECT_DIRS"
"""The launcher's setting that allows directories."""


@dataclass(frozen=True, slots=True)
class ProjectDirectory:
    """`path` has no links. `opened` is a path to the very directory that was checked, whatever `path` names by now."""

    path: str
    opened: str


@contextmanager
def opened(named: str | None, executor: Executor, own: Path) -> Iterator[ProjectDirectory]:
    """Open the directory that the order names, else the launcher's, else `own`, which is made.

    Links are resolved first, in the named directory and in the allowed ones. Raises ProgramFailed if the directory is
    not allowed, or is not there.
    """
    wanted = named or executor.project_dir
    if wanted is None:
        own.mkdir()
    path = os.path.realpath(wanted or own)  # resolved once: what is checked is what is opened
    shown = named or "of the launcher"  # whoever placed the order is told of no path but its own
    details = f"It is {path}; see {ALLOWED}."
    if wanted is not None and not _allowed(path, executor):
        raise _refused(f"The project directory {shown} is not allowed on this launcher: name another.", details)
    try:
        descriptor = open_without_links(path)
    except OSError as error:
        message = f"The project directory {shown} cannot be opened where the session runs: {error.strerror}."
        raise _refused(message, details) from error
    try:
        yield ProjectDirectory(path, f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def open_without_links(path: str) -> int:
    """Open a directory by a path without links. Raises OSError if it is none, or if a link stands in the path by now.

    Another session may replace a directory after it was checked.
    """
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if os.readlink(f"/proc/self/fd/{descriptor}") != path:
        os.close(descriptor)
        raise NotADirectoryError(0, "it has become a link", path)
    return descriptor


def _allowed(path: str, executor: Executor) -> bool:
    """Return whether the path, which has no links, is an allowed directory or below one."""
    every = (*executor.project_dirs, *([executor.project_dir] if executor.project_dir else []))
    return any(Path(path).is_relative_to(os.path.realpath(one)) for one in every)


def _refused(message: str, details: str) -> ProgramFailed:
    return ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False, details=details)
