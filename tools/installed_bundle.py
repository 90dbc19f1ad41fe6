"""The bundle of the functions as the cloud installs it: unpacked, beside an environment of its own packages only."""

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.bundle import ROOT, content
from worker.guest.exclusive import alone_in

KEPT: Final = ROOT / ".launchyard" / "bundle"
"""The environments, which take 20 s to make, by what they are made of."""
COMPLETE: Final = "complete"
"""This file is written last."""
SERVICES: Final = ROOT / "infra" / "terraform" / "services.json"


class NotInstalled(Exception):
    """The bundle's requirements cannot be installed. The message is pip's."""


@dataclass(frozen=True, slots=True)
class InstalledBundle:
    """`folder` holds the bundle's files, and `python` finds the packages of its requirements.txt and no others."""

    folder: Path
    python: Path

    @property
    def main(self) -> Path:
        return self.folder / "main.py"

    @property
    def framework(self) -> Path:
        """The command `functions-framework`."""
        return self.python.with_name("functions-framework")


def install(folder: Path) -> InstalledBundle:
    """Write the bundle's files below an empty folder, and make the environment unless there is one.

    Raises Misplaced, OtherVersions, NotInstalled.
    """
    for name, data in content().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return InstalledBundle(folder, _python(folder / "requirements.txt"))


def services() -> Mapping[str, Mapping[str, Any]]:
    """Return what Terraform is told of each service: `uses`, `secrets`, `settings` and `paths`."""
    told: Mapping[str, Mapping[str, Any]] = json.loads(SERVICES.read_text(encoding="utf-8"))["services"]
    return told


def settings_of(service: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the settings and secrets that the deployed service is given, as far as there are values."""
    told = services()[service]
    return {name: values[name] for name in (*told["settings"], *told["secrets"]) if name in values}


def _python(requirements: Path) -> Path:
    """Return the Python of an environment with these packages."""
    made_of = (requirements.read_bytes(), sys.version.encode(), str(KEPT).encode())
    folder = KEPT / hashlib.sha256(b"\0".join(made_of)).hexdigest()[:16]
    python = folder / "bin" / "python"
    with alone_in(KEPT, _report):
        if not (folder / COMPLETE).exists():
            venv.create(folder, clear=True, with_pip=True, symlinks=True)
            _pip(python, "install", "--require-hashes", "--requirement", str(requirements))
            _pip(python, "check")
            (folder / COMPLETE).touch()
    return python


def _pip(python: Path, *words: str) -> None:
    """Raises NotInstalled."""
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalled(f"pip {words[0]}: {done.stdout}{done.stderr}")


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")
