"""Runs the programs that the recipe needs. A failure is explained in one sentence."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

TOOLS: Final = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mmdebstrap": "mmdebstrap",
}
"""The host's programs that the recipe runs, each with its Debian package."""
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
KEYRING_PACKAGE: Final = "debian-archive-keyring"
REPRODUCIBLE: Final = {"LC_ALL": "C", "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0", "TZ": "UTC"}
MAX_QUOTED: Final = 400
"""How many characters of a failed program's output an error quotes."""


class BuildFailed(Exception):
    """The image cannot be built. The message says why, and what to do."""


def require_tools() -> None:
    """Raises BuildFailed if a tool is missing. It names all that are, and the command that installs them."""
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if not KEYRING.exists():
        missing[str(KEYRING)] = KEYRING_PACKAGE
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        needed = f"The guest image needs {', '.join(sorted(missing))}"
        raise BuildFailed(f"{needed}; as root: apt-get install --no-install-recommends {packages}")


def run(
    argv: Sequence[str],
    folder: Path | None = None,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return the program's standard output. Raises BuildFailed, which quotes the end of its output in one line.

    `environment` replaces this process's own.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**(os.environ if environment is None else environment), **REPRODUCIBLE},
        )
    except FileNotFoundError as error:
        raise BuildFailed(f"The guest image needs {argv[0]}, which is not installed.") from error
    if done.returncode != 0:
        output = " ".join((done.stderr or done.stdout).split())[-MAX_QUOTED:]
        raise BuildFailed(f"{Path(argv[0]).name} failed with exit code {done.returncode}: {output}")
    return done.stdout
