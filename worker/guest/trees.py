"""The two trees that packages are unpacked into, and how to run a tree's programs without root.

Every program that shapes a byte of the image comes from a tree, never from the host. It sees neither the host's
environment nor, through a link, the host's files.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.guest.commands import run

LOADER: Final = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"
NO_ENVIRONMENT: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The files of packages in a folder. No package's scripts were run."""

    folder: Path

    def run(
        self,
        program: str,
        *arguments: str,
        folder: Path | None = None,
        stdin: str | None = None,
        environment: Mapping[str, str] = NO_ENVIRONMENT,
    ) -> str:
        """Run a program of this tree with exactly this environment; return its output. Raises BuildFailed.

        The tree's own loader starts it with the tree's libraries. That needs no chroot, and thus no root.
        """
        return run([*self._loader(), str(self.folder / program), *arguments], folder, stdin, environment)

    def libraries(self, program: str) -> list[Path]:
        """Return the library files that a program of this tree loads."""
        listed = run([*self._loader(), "--list", str(self.folder / program)], environment=NO_ENVIRONMENT)
        return [Path(line.split(" => ")[1].split(" ")[0]) for line in listed.splitlines() if " => " in line]

    def _loader(self) -> tuple[str, ...]:
        return (str(self.folder / LOADER), "--inhibit-cache", "--library-path", str(self.folder / LIBRARIES))


def unpack(debs: Iterable[Path], folder: Path) -> Unpacked:
    """Unpack packages into a new folder. Raises BuildFailed."""
    folder.mkdir(parents=True)
    for deb in debs:
        run(["dpkg-deb", "--extract", str(deb), str(folder)])
    for path in folder.rglob("*"):
        if path.is_symlink():
            _keep_inside(path, folder)
    return Unpacked(folder)


def _keep_inside(link: Path, folder: Path) -> None:
    """Make an absolute link relative: otherwise it would lead to a file of the host."""
    target = link.readlink()
    if target.is_absolute():
        link.unlink()
        link.symlink_to(os.path.relpath(folder / target.relative_to("/"), link.parent))
