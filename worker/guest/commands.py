"""Running the programs that the recipe needs, and saying in one sentence what is wrong."""

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
"""Each program of the host that the recipe runs, and the package that brings it."""
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
KEYRING_PACKAGE: Final = "debian-archive-keyring"
REPRODUCIBLE: Final = {"LC_ALL": "C", "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0", "TZ": "UTC"}
MOST_SAID: Final = 400
"""Characters of a failed program's words that are told."""


class BuildFailed(Exception):
    """The image cannot be built; the message says why, and what helps."""


def require_tools() -> None:
    """Raises BuildFailed, naming all that is missing and the line that installs it."""
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
    """Return the program's standard output. Raises BuildFailed with what it said, in one line.

    `environment` takes the place of this process's own.
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
        raise BuildFailed(f"The guest image needs {argv[0]}, which is not there.") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-MOST_SAID:]
        raise BuildFailed(f"{Path(argv[0]).name} failed with exit code {done.returncode}: {said}")
    return done.stdout
