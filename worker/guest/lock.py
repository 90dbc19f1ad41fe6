"""The lock: the Debian packages of the image, each with the SHA-256 and the name of its file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from worker.guest.commands import BuildFailed
from worker.guest.suite import Tree

LOCK: Final = Path(__file__).parent / "packages.lock"
RENEW: Final = "`make lock-image` writes the lock anew"
FILE: Final = r"[a-z0-9][a-z0-9.+-]+_[A-Za-z0-9.+~%-]+_(?:all|amd64)\.deb"
LINE: Final = re.compile(rf"(?P<sha256>[0-9a-f]{{64}})  (?P<tree>{'|'.join(Tree)})/(?P<file>{FILE})")
"""In the format of sha256sum(1). Each file is in the folder of its tree."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """`file` is the name of the package's file: package, version and architecture."""

    tree: Tree
    file: str
    sha256: str

    @property
    def name(self) -> str:
        return self.file.split("_")[0]

    @property
    def version(self) -> str:
        return unquote(self.file.split("_")[1])

    @property
    def exact(self) -> str:
        """apt's notation for exactly this version."""
        return f"{self.name}={self.version}"


Packages = tuple[Package, ...]


def read(lock: Path | None = None) -> Packages:
    """Return the packages of the lock. Raises BuildFailed, which names the wrong line."""
    lock = lock or LOCK
    try:
        lines = lock.read_text().splitlines()
    except FileNotFoundError:
        raise BuildFailed(f"{lock.name} is missing: {RENEW}.") from None
    return tuple(_package(lock, number, line) for number, line in enumerate(lines, 1))


def write(packages: Iterable[Package], lock: Path = LOCK) -> None:
    lines = (f"{package.sha256}  {package.tree}/{package.file}\n" for package in sorted(packages))
    lock.write_text("".join(lines))


def _package(lock: Path, number: int, line: str) -> Package:
    found = LINE.fullmatch(line)
    if found is None:
        raise BuildFailed(f"{lock.name}, line {number} is not `<sha256>  <tree>/<file>.deb`: {RENEW}.")
    return Package(Tree(found["tree"]), found["file"], found["sha256"])
