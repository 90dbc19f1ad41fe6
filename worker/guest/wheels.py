"""The Python packages of the image: exactly the wheels of requirements.lock."""

import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from worker.guest.commands import BuildFailed, run
from worker.guest.suite import PYTHON

LOCK: Final = Path(__file__).parent / "requirements.lock"
TARGET: Final = (
    "--implementation=cp",
    f"--python-version={PYTHON}",
    f"--abi=cp{PYTHON.replace('.', '')}",
    "--abi=abi3",
    "--abi=none",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
)
"""pip chooses wheels for the guest's interpreter, whatever the host's is."""


def install(cache: Path, site: Path) -> None:
    """Unpack the locked wheels into the folder `site`. Raises BuildFailed."""
    site.mkdir(parents=True)
    for wheel in _fetch(cache):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def _fetch(cache: Path) -> list[Path]:
    lock = LOCK.read_text()
    folder = cache / hashlib.sha256("\n".join((*TARGET, lock)).encode()).hexdigest()
    if not folder.exists():
        _download(folder)
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in lock:
            raise BuildFailed(f"{wheel} is not in {LOCK.name}; remove it and build again.")
    return wheels


def _download(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as partial:
        chosen = Path(partial) / "wheels"
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", *TARGET]
        run([*pip, *options, f"--dest={chosen}", f"--requirement={LOCK}"])
        chosen.replace(folder)
