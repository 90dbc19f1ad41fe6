"""The guest's root: Python, its packages and the worker, byte-compiled, as a read-only squashfs."""

import shutil
from pathlib import Path
from typing import Final

from worker.guest import wheels
from worker.guest.commands import run
from worker.guest.imports import closure
from worker.guest.suite import PYTHON
from worker.guest.trees import Unpacked

PROJECT: Final = Path(__file__).parents[2]
WORKER: Final = "worker"
RECIPE: Final = "worker/guest"
"""The worker's modules in this folder build the image, and are not in it."""
LOCAL: Final = "worker/local"
"""The worker's modules in this folder run on a developer's host only."""
SHARED: Final = "shared"

SITE: Final = "opt/site"
APP: Final = "opt/launchyard"
MOUNT_POINTS: Final = ("dev", "etc", "proc", "run", "sys", "tmp")
FILES: Final = {
    "etc/group": "root:x:0:\nworker:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/passwd": "root:x:0:0::/:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",  # QEMU's user network
}
LINKS: Final = ("bin", "lib", "lib64", "sbin")
"""Links to the folders of the same names below usr, as in Debian's base-files."""
UNUSED: Final = ("dev", "etc", "tmp", "usr/share", "var", f"usr/lib/python{PYTHON}/pydoc_data")
"""Folders of the packages that the guest does not need."""
INTERPRETER: Final = f"usr/bin/python{PYTHON}"
COMPILED: Final = (f"usr/lib/python{PYTHON}", SITE, APP)
PROOF: Final = """\
import lxml.etree, ssl, zlib
import worker.__main__
from worker.programs import agent, command, mods_export, session
"""


def sources(project: Path = PROJECT) -> list[Path]:
    """Return the project's files that go into the root, sorted: the worker, and the modules of shared/ it imports."""
    elsewhere = {project / RECIPE, project / LOCAL}
    files = [file for file in (project / WORKER).rglob("*.py") if elsewhere.isdisjoint(file.parents)]
    return closure(files, {SHARED}, project)


def build(packages: Unpacked, tools: Unpacked, wheel_cache: Path, image: Path) -> None:
    """Turn the unpacked packages into the root, and write it to the file `image`. Raises BuildFailed."""
    folder = packages.folder
    for path in (folder / name for name in UNUSED):
        if path.exists():
            shutil.rmtree(path)
    wheels.install(wheel_cache, folder / SITE)
    _add_files(folder)
    _compile(packages)
    _set_modes(folder)
    # SOURCE_DATE_EPOCH sets the time of every file. mksquashfs sorts files by name.
    options = [
        "-comp",
        "lz4",
        "-Xhc",
        "-noappend",
        "-all-root",
        "-no-xattrs",
        "-reproducible",
        "-quiet",
        "-no-progress",
    ]
    tools.run("usr/bin/mksquashfs", str(folder), str(image), *options)


def _add_files(folder: Path) -> None:
    for name in LINKS:
        (folder / name).symlink_to(f"usr/{name}")
    (folder / "usr/bin/python3").symlink_to(f"python{PYTHON}")
    for name in MOUNT_POINTS:
        (folder / name).mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    programs = folder / "usr/bin"
    for applet in run([str(programs / "busybox"), "--list"]).split():
        if not (programs / applet).exists():
            (programs / applet).symlink_to("busybox")
    for source in sources():
        target = folder / APP / source.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _compile(packages: Unpacked) -> None:
    """Compile ahead with the guest's own Python, in one process for reproducible bytes: it saves seconds of boot."""
    folder = packages.folder
    roots = [str(folder / name) for name in COMPILED]
    options = ["-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/"]
    environment = {
        "PYTHONHOME": str(folder / "usr"),
        "PYTHONPATH": f"{folder / APP}:{folder / SITE}",
        "PYTHONNOUSERSITE": "1",
    }
    packages.run(INTERPRETER, "-m", "compileall", *options, *roots, environment=environment)
    packages.run(INTERPRETER, "-B", "-c", PROOF, environment=environment)


def _set_modes(folder: Path) -> None:
    """Give every file one of two modes: neither the umask nor a set-uid bit may reach the image."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
