"""The Debian packages of the image: which ones, in which versions, and their verified files.

Versions and SHA-256 come from apt's lists, which apt checked against the archive's signature when it fetched them
(apt-secure(8)). `apt-get download` verifies each file against them; files kept from earlier are verified here.
"""

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.guest.commands import BuildFailed, run

KERNEL: Final = "linux-image-cloud-amd64"
"""A meta-package: it depends on the present kernel. The cloud flavour has virtio, squashfs and TDX guest support."""
ROOT: Final = (
    "busybox-static",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libuuid1",
    "python3.11-minimal",
    "zlib1g",
)
LINE: Final = re.compile(r"'[^']+' (?P<file>\S+) \d+ SHA256:(?P<sha256>[0-9a-f]{64})")
"""One of `apt-get download --print-uris`."""
STALE: Final = "Is this Debian 12, and are its lists fresh (apt-get update)?"


@dataclass(frozen=True, slots=True)
class Package:
    """`file` is the package's file name, which holds its version."""

    name: str
    file: str
    sha256: str


def resolve() -> tuple[Package, ...]:
    """Return the kernel's package, then the root's, as apt's lists have them. Raises BuildFailed."""
    names = (_kernel(), *ROOT)
    lines = LINE.finditer(_apt("download", "--print-uris", *names))
    found = {
        line["file"].partition("_")[0]: Package(line["file"].partition("_")[0], **line.groupdict()) for line in lines
    }
    missing = [name for name in names if name not in found]
    if missing:
        raise BuildFailed(f"apt knows no package {', '.join(missing)}. {STALE}")
    return tuple(found[name] for name in names)


def fetch(packages: tuple[Package, ...], cache: Path) -> dict[str, Path]:
    """Return each package's verified file by the package's name, from the cache or the archive."""
    cache.mkdir(parents=True, exist_ok=True)
    absent = [package for package in packages if not _is_whole(cache / package.file, package)]
    if absent:
        _download(absent, cache)
    return {package.name: cache / package.file for package in packages}


def _download(packages: list[Package], cache: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as folder:
        _apt("download", *(package.name for package in packages), folder=Path(folder))
        for package in packages:
            file = Path(folder) / package.file
            if not _is_whole(file, package):
                raise BuildFailed(f"{package.file} is not what apt's lists promise. {STALE}")
            file.replace(cache / package.file)


def _kernel() -> str:
    depends = run(["apt-cache", "depends", KERNEL])
    for line in depends.splitlines():
        relation, _, name = line.strip().partition(": ")
        if relation == "Depends" and name.startswith("linux-image-"):
            return name
    raise BuildFailed(f"apt knows no package {KERNEL}. {STALE}")


def _apt(*arguments: str, folder: Path | None = None) -> str:
    # Without the sandbox user, who could not write to a folder of ours.
    return run(["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", *arguments], folder)


def _is_whole(file: Path, package: Package) -> bool:
    if not file.exists():
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == package.sha256
