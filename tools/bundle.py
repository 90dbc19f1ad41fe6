"""`python -m tools.bundle FILE`: write the zip that is deployed as the control plane's functions.

It holds `main.py`, `requirements.txt` and the modules that `functions.main` imports. One state of the checkout gives
the same bytes on any machine and with any Python: entries are sorted and not compressed (the bytes of a compressed one
depend on the version of zlib), and all have the same time and mode.
"""

import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tools.locked import OtherVersions, locked
from worker.guest.imports import closure

ROOT: Final = Path(__file__).parents[1]
FUNCTIONS: Final = "functions"
SHARED: Final = "shared"
PARTS: Final = (FUNCTIONS, SHARED, "cli", "emulators", "launcher", "tests", "tools", "worker")
MAIN: Final = '''\
"""The entry points of the deployed functions: functions-framework looks up its target here, by name."""

from functions.main import *
'''
A_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can express."""
A_MODE: Final = 0o100644
UNIX: Final = 3
"""The system that an entry's mode is of (APPNOTE.TXT, 4.4.2)."""


class Misplaced(Exception):
    """The functions import what is not deployed with them."""


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("Name the file to write: python -m tools.bundle dist/launchyard-functions.zip\n")
        return 2
    try:
        files = content()
    except (Misplaced, OtherVersions) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    bundle, target = archive(files), Path(arguments[0])
    _write(bundle, target)
    sys.stdout.write(
        f"{target}\n"
        f"  made of  {made_of()}\n"
        f"  SHA-256  {hashlib.sha256(bundle).hexdigest()}\n"
        f"  size     {len(bundle)} bytes, {len(files)} files\n"
    )
    return 0


def content(project: Path = ROOT) -> dict[str, bytes]:
    """Return what the bundle holds, by the files' names. Raises Misplaced, OtherVersions."""
    sources = [file.relative_to(project) for file in closure([project / FUNCTIONS / "main.py"], PARTS, project)]
    if elsewhere := [str(file) for file in sources if file.parts[0] not in (FUNCTIONS, SHARED)]:
        raise Misplaced(f"The functions must not import other parts than {SHARED}/: {', '.join(elsewhere)}")
    return {
        "main.py": MAIN.encode(),
        "requirements.txt": locked([FUNCTIONS]).encode(),
        **{file.as_posix(): (project / file).read_bytes() for file in sources},
    }


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of these files."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as bundle:
        for name, data in sorted(files.items()):
            bundle.writestr(_entry(name), data)
    return written.getvalue()


def made_of(project: Path = ROOT) -> str:
    """Name the commit, and say if the checkout differs from it."""
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return "a folder that is no git checkout"
    changed = _git(project, "status", "--porcelain")
    return f"commit {commit}{' with changes that are not committed' if changed else ''}"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, A_TIME)
    entry.compress_type = zipfile.ZIP_STORED
    entry.create_system = UNIX
    entry.external_attr = A_MODE << 16
    return entry


def _write(bundle: bytes, target: Path) -> None:
    """Replace the target at once: a run that is interrupted leaves no half of a bundle under its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    partial.write_bytes(bundle)
    partial.replace(target)


def _git(project: Path, *words: str) -> str | None:
    """Return what git prints; None if this is no checkout, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
