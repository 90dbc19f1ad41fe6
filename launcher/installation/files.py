"""The files of an installed launcher: each is replaced whole, and none can be read by others meanwhile."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

UNIT: Final = "launchyard-launcher.service"
SLICE: Final = "launchyard-vms.slice"
EXAMPLE: Final = "launchyard.env"
UNITS: Final = Path("/etc/systemd/system")
SETTINGS: Final = Path("/etc/launchyard")
ENVIRONMENT: Final = SETTINGS / "launchyard.env"
CREDENTIALS: Final = SETTINGS / "credentials.json"
UNFINISHED: Final = SETTINGS / ".unfinished"
"""It is there from before the first file of an installation is written until the launcher has started with all."""
ALL: Final = (UNITS / UNIT, UNITS / SLICE, ENVIRONMENT, CREDENTIALS)
PROGRAM: Final = "/opt/launchyard/bin/launchyard"
"""The program in the unit as it is shipped."""
PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
PARTIAL: Final = ".partial"


@dataclass(frozen=True, slots=True)
class File:
    """A file of the host: `path` is absolute there."""

    path: Path
    content: bytes
    mode: int = PRIVATE

    def is_at(self, root: Path) -> bool:
        """Return whether the file is there, with this content, mode and owner."""
        there = inside(root, self.path)
        try:
            status = there.lstat()
            kept = (stat.S_ISREG(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid)
            return kept == (True, self.mode, os.geteuid()) and there.read_bytes() == self.content
        except OSError:
            return False


def shipped(name: str) -> str:
    """Return a file that comes with the launcher."""
    return (resources.files("launcher.installation") / "systemd" / name).read_text()


def units(program: Path) -> tuple[File, ...]:
    """Return the units, of which the launcher's starts this program."""
    unit = shipped(UNIT).replace(PROGRAM, str(program))
    return (
        File(UNITS / SLICE, shipped(SLICE).encode(), PUBLIC),
        File(UNITS / UNIT, unit.encode(), PUBLIC),
    )


def inside(root: Path, path: Path) -> Path:
    """Return where an absolute path is below a root."""
    return root / path.relative_to("/")


def write(root: Path, files: Iterable[File]) -> None:
    """Write the files in this order. After a crash each is the old one or the new one, whole. Raises OSError."""
    for file in files:
        there = inside(root, file.path)
        if file.mode == PRIVATE:
            there.parent.parent.mkdir(parents=True, exist_ok=True)
            there.parent.mkdir(mode=0o700, exist_ok=True)
        there.parent.mkdir(parents=True, exist_ok=True)
        _replace(there, file)


def begin(root: Path) -> None:
    """Note that the launcher is to start anew, even if this installation is interrupted. Raises OSError."""
    write(root, [File(UNFINISHED, b"")])


def is_unfinished(root: Path) -> bool:
    """Return whether an installation has begun and not finished."""
    return inside(root, UNFINISHED).exists()


def finish(root: Path) -> None:
    """Note that the launcher has started with what was written. Raises OSError."""
    inside(root, UNFINISHED).unlink(missing_ok=True)


def unlink(root: Path, paths: Iterable[Path]) -> tuple[Path, ...]:
    """Remove files, and return those that were there. Raises OSError."""
    removed = []
    for path in paths:
        with suppress(FileNotFoundError):
            inside(root, path).unlink()
            removed.append(path)
    return tuple(removed)


def remove(root: Path) -> tuple[Path, ...]:
    """Remove all that an installation writes, and return what was there. Raises OSError."""
    removed = unlink(root, ALL)
    finish(root)
    with suppress(OSError):  # it is not there, or an operator keeps other files in it
        inside(root, SETTINGS).rmdir()
    return removed


def _replace(there: Path, file: File) -> None:
    partial = there.with_name(f".{there.name}{PARTIAL}")
    partial.unlink(missing_ok=True)  # of an installation that was interrupted
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as opened:
        opened.write(file.content)
        opened.flush()
        os.fchmod(opened.fileno(), file.mode)  # whatever the umask is
        os.fsync(opened.fileno())
    os.replace(partial, there)
    folder = os.open(there.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
