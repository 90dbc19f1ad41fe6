"""Running the programs that the recipe needs, and saying in one sentence what is missing."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

TOOLS: Final = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "cpio": "cpio",
    "dpkg": "dpkg",
    "mksquashfs": "squashfs-tools",
}
"""Each program that the recipe runs, and the Debian package that brings it."""
REPRODUCIBLE: Final = {"LC_ALL": "C", "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0"}


class BuildFailed(Exception):
    """The image cannot be built; the message says why, and what helps."""


def require_tools() -> None:
    """Raises BuildFailed, naming all that is missing and the line that installs it."""
    missing = sorted(tool for tool in TOOLS if shutil.which(tool) is None)
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        needed = f"The guest image needs {', '.join(missing)}"
        raise BuildFailed(f"{needed}: apt-get install --no-install-recommends {packages}")


def run(
    argv: Sequence[str],
    folder: Path | None = None,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return the program's standard output. Raises BuildFailed with what it said."""
    done = subprocess.run(
        argv,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **REPRODUCIBLE, **(environment or {})},
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise BuildFailed(f"{argv[0]} failed with exit code {done.returncode}: {said}")
    return done.stdout
