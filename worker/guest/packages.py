"""Obtains the image's packages: from the cache, then from the archive, which may have dropped some (ADR 13)."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from worker.guest import lock
from worker.guest.commands import BuildFailed
from worker.guest.lock import Package, Packages

NAMED: Final = 3
"""The number of packages that a message names."""


class PackageArchive(Protocol):
    """See worker/guest/archive.py."""

    def lacks(self, packages: Iterable[Package]) -> Packages: ...
    def resolve(self) -> Packages: ...
    def download(self, packages: Iterable[Package], folder: Path) -> None: ...


Opened = Callable[[], AbstractContextManager[PackageArchive]]
"""Opens the archive. It is called only if a package is not in the cache."""


def obtain(locked: Packages, kept: Path, opened: Opened, only_locked: bool, report: Callable[[str], None]) -> Packages:
    """Return the packages to build from, after verifying the file of each in the folder `kept`.

    They are the lock's. If the archive no longer has these, and `only_locked` is false, they are the suite's present
    ones. Raises BuildFailed.
    """
    kept.mkdir(parents=True, exist_ok=True)
    absent = _absent(locked, kept)
    if not absent:
        return locked
    with opened() as archive:
        gone = archive.lacks(absent)
        if not gone:
            keep(absent, kept, archive, report)
            return locked
        remedy = f"{lock.RENEW}; a snapshot mirror (--mirror) still has the locked versions"
        moved = f"Debian's archive no longer has {_named(gone)} of the lock: {remedy}."
        if only_locked:
            raise BuildFailed(moved)
        report(f"{moved} Building from the suite's present packages.")
        present = archive.resolve()
        keep(present, kept, archive, report)
        return present


def renew(kept: Path, opened: Opened, report: Callable[[str], None]) -> Packages:
    """Fetch and return the suite's present packages. Raises BuildFailed."""
    kept.mkdir(parents=True, exist_ok=True)
    with opened() as archive:
        present = archive.resolve()
        keep(present, kept, archive, report)
        return present


def keep(packages: Packages, kept: Path, archive: PackageArchive, report: Callable[[str], None]) -> None:
    """Fetch the missing packages. Only files with the right SHA-256 get into `kept`. Raises BuildFailed."""
    absent = _absent(packages, kept)
    if not absent:
        return
    report(f"Fetching {len(absent)} Debian packages.")
    with tempfile.TemporaryDirectory(dir=kept, prefix=".fetching-") as folder:
        archive.download(absent, Path(folder))
        for package in absent:
            file = Path(folder) / package.file
            if _sha256(file) != package.sha256:
                raise BuildFailed(
                    f"{package.file} of Debian's archive does not match its SHA-256 in {lock.LOCK.name}: "
                    f"find out why before {lock.RENEW}."
                )
            file.replace(kept / package.file)


def _absent(packages: Packages, kept: Path) -> Packages:
    """Return the packages whose file is missing or damaged, each file once."""
    once = {package.file: package for package in packages}.values()
    return tuple(package for package in once if _sha256(kept / package.file) != package.sha256)


def _sha256(file: Path) -> str | None:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _named(packages: Packages) -> str:
    more = len(packages) - NAMED
    named = ", ".join(f"{package.name} {package.version}" for package in packages[:NAMED])
    return f"{named} and {more} more" if more > 0 else named
