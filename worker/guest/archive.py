"""Debian's archive, read with a separate apt configuration: the suite's signed lists, and the packages in them.

mmdebstrap lays out the folder and chooses the mirror. apt checks the lists against Debian's keyring, and each package
against the lists (apt-secure(8)). The host's own lists, keys and suite are not used. Nothing here needs root.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from worker.guest.commands import KEYRING, BuildFailed, run
from worker.guest.lock import Package, Packages
from worker.guest.suite import BACKPORTS, KERNEL, KERNEL_PACKAGES, NAMES, SUITE, Tree

BOOTSTRAP: Final = ("mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract", "--format=directory")
ONLY_LAID_OUT: Final = "--skip=update,check/signed-by"
"""The lists are fetched later, when the sources are complete."""
CONFIGURATION: Final = """\
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "{valid_until}";
Dir "{root}";
Dir::State::Status "{root}/var/lib/dpkg/status";
Dir::Etc::Trusted "/dev/null";
Dir::Etc::TrustedParts "/dev/null";
pkgCacheGen::ForceEssential ",";
"""
"""apt.conf(5). No sandbox user, who could not write to our folder. A list that cannot be fetched is an error."""
BASE: Final = re.compile(rf"^deb (?P<uri>\S+) {SUITE} main$", re.MULTILINE)
OFFERED: Final = re.compile(r"'[^']+' (?P<file>\S+) \d+ SHA256:(?P<sha256>[0-9a-f]{64})")
"""One line of `apt-get download --print-uris`."""
INSTALLED: Final = re.compile(r"^'[^']+' (?P<file>\S+\.deb) ", re.MULTILINE)
"""One line of `apt-get install --print-uris`."""


@contextmanager
def opened(scratch: Path, mirror: str | None) -> Iterator["Archive"]:
    """Fetch the suite's lists into a temporary folder in `scratch`, and yield the archive. Raises BuildFailed."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".archive-") as folder:
        root = Path(folder).absolute() / "apt"
        run([*BOOTSTRAP, ONLY_LAID_OUT, SUITE, str(root), *([mirror] if mirror else [])])
        configuration = root / "apt.conf"
        # The lists of a snapshot archive's day are past their validity date.
        valid_until = "false" if mirror else "true"
        configuration.write_text(CONFIGURATION.format(root=root, valid_until=valid_until))
        sources = root / "etc/apt/sources.list"
        base = BASE.search(sources.read_text())
        if base is None:
            raise BuildFailed("mmdebstrap chose no mirror: name one with --mirror.")
        sources.write_text(_sources(base["uri"]))
        archive = Archive(configuration)
        archive.update(urlsplit(base["uri"]).hostname or base["uri"])
        yield archive


@dataclass(frozen=True, slots=True)
class Archive:
    """The suite as it is now. Every method raises BuildFailed."""

    configuration: Path

    def update(self, mirror: str) -> None:
        try:
            self._apt("apt-get", "update")
        except BuildFailed as error:
            advice = "check the network, the mirror (--mirror), and the age of debian-archive-keyring"
            raise BuildFailed(f"Debian's lists cannot be fetched from {mirror}: {advice}. {error}") from error

    def lacks(self, packages: Iterable[Package]) -> Packages:
        """Return the packages of which the archive does not have this version."""
        wanted = tuple(packages)
        rows = self._apt("apt-cache", "madison", *(package.name for package in wanted)).splitlines()
        there = {tuple(cell.strip() for cell in row.split("|")[:2]) for row in rows}
        return tuple(package for package in wanted if (package.name, package.version) not in there)

    def resolve(self) -> Packages:
        """Return the present packages of both trees, with the newest kernel of backports."""
        names = {**NAMES, Tree.TOOLS: (*NAMES[Tree.TOOLS], *self._kernel())}
        return tuple(package for tree in Tree for package in self.closure(tree, names[tree]))

    def closure(self, tree: Tree, names: Iterable[str], release: str = SUITE) -> Packages:
        """Return the named packages, from that release if it has them, and all their dependencies."""
        words = ("--yes", "--print-uris", f"--target-release={release}")
        chosen = INSTALLED.findall(self._apt("apt-get", "install", *words, *names))
        exact = (Package(tree, file, "").exact for file in chosen)
        offered = OFFERED.finditer(self._apt("apt-get", "download", "--print-uris", *exact))
        return tuple(Package(tree, line["file"], line["sha256"]) for line in offered)

    def download(self, packages: Iterable[Package], folder: Path) -> None:
        """Download the packages' files into the folder."""
        self._apt("apt-get", "download", *(package.exact for package in packages), folder=folder)

    def _kernel(self) -> tuple[str, ...]:
        """Return the packages that hold the kernel, which the meta package and the kernel's own depend on."""
        (image,) = self._needs(KERNEL, f"{KERNEL.removesuffix('-cloud-amd64')}-[0-9]")
        return tuple(self._needs(image, "|".join(KERNEL_PACKAGES)))

    def _needs(self, name: str, pattern: str) -> list[str]:
        shown = self._apt("apt-cache", "--option", f"APT::Default-Release={BACKPORTS}", "depends", name)
        found = re.findall(rf"^ +Depends: ((?:{pattern})\S+)$", shown, re.MULTILINE)
        if not found:
            raise BuildFailed(f"{name} of {BACKPORTS} names no kernel: {shown}")
        return found

    def _apt(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        options = ["--quiet=2"] if program == "apt-get" else []
        return run(
            [program, *options, *arguments], folder, environment={**os.environ, "APT_CONFIG": str(self.configuration)}
        )


def _sources(uri: str) -> str:
    """Return the sources: the suite, its updates, backports and, if the mirror is laid out as Debian's, security."""
    archives = [(uri, suite) for suite in (SUITE, f"{SUITE}-updates", BACKPORTS)]
    security = re.sub(r"/debian(?=/|$)", "/debian-security", uri)
    if security != uri:
        archives.append((security, f"{SUITE}-security"))
    return "".join(f"deb [signed-by={KEYRING}] {address} {suite} main\n" for address, suite in archives)
