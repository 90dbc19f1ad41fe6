"""The guest's root: Python, its packages and the worker, byte-compiled, as a read-only squashfs."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from worker.guest import wheels
from worker.guest.commands import run

PROJECT: Final = Path(__file__).parents[2]
SOURCES: Final = (
    "shared/__init__.py",
    "shared/api.py",
    "shared/domain",
    "shared/secret.py",
    "shared/trouble.py",
    "shared/vm_config.py",
    "worker",
)
"""What of the project runs inside the guest."""
RECIPE: Final = "worker/guest"
"""What is not: how the image itself is made."""

SITE: Final = "opt/site"
APP: Final = "opt/launchyard"
MOUNT_POINTS: Final = ("dev", "etc", "proc", "run", "sys", "tmp")
FILES: Final = {
    "etc/group": "root:x:0:\nworker:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/passwd": "root:x:0:0::/:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",  # QEMU's user network
}
UNUSED: Final = ("usr/share", "usr/lib/python3.11/pydoc_data")

LOADER: Final = "lib64/ld-linux-x86-64.so.2"
LIBRARIES: Final = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
COMPILED: Final = ("usr/lib/python3.11", SITE, APP)
PROOF: Final = "import lxml.etree, ssl, zlib, worker.__main__"


def sources(project: Path = PROJECT) -> list[Path]:
    """Return the project's files that go into the root, sorted."""
    files = (file for name in SOURCES for file in _python_files(project / name))
    return sorted(file for file in files if project / RECIPE not in file.parents)


def build(debs: Iterable[Path], wheel_cache: Path, folder: Path, image: Path) -> None:
    """Assemble the root in `folder` and write it as the file `image`. Raises BuildFailed."""
    folder.mkdir(parents=True)
    for deb in debs:
        run(["dpkg", "-x", str(deb), str(folder)])
    for path in UNUSED:
        shutil.rmtree(folder / path)
    wheels.install(wheel_cache, folder / SITE)
    _place(folder)
    _compile(folder)
    _level(folder)
    run(
        [
            "mksquashfs",
            str(folder),
            str(image),
            "-comp",
            "lz4",
            "-Xhc",
            "-noappend",
            "-all-root",
            "-no-xattrs",
            "-quiet",
        ]
    )


def _place(folder: Path) -> None:
    for name in MOUNT_POINTS:
        (folder / name).mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for applet in run([str(folder / "bin" / "busybox"), "--list"]).split():
        if applet != "busybox":
            (folder / "bin" / applet).symlink_to("busybox")
    for source in sources():
        target = folder / APP / source.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _compile(folder: Path) -> None:
    """Compile ahead with the guest's own Python, in one process: the same bytes each time. It saves seconds of boot."""
    roots = [str(folder / name) for name in COMPILED]
    options = ["-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/"]
    _python(folder, "-m", "compileall", *options, *roots)
    _python(folder, "-B", "-c", PROOF)


def _python(folder: Path, *arguments: str) -> None:
    """Run the guest's Python from its folder, which needs no chroot, and so no root."""
    libraries = ":".join(str(folder / name) for name in LIBRARIES)
    python = [str(folder / LOADER), "--library-path", libraries, str(folder / "usr/bin/python3.11")]
    path = f"{folder / APP}:{folder / SITE}"
    environment = {"PYTHONHOME": str(folder / "usr"), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
    run([*python, *arguments], environment=environment)


def _level(folder: Path) -> None:
    """Give every file one of two modes, so that neither the umask nor a set-uid bit reaches the image."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _python_files(path: Path) -> Iterable[Path]:
    return path.rglob("*.py") if path.is_dir() else [path]
