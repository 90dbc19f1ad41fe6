"""The files that an installation copies come with the package, wherever it is installed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from launcher.installation.files import EXAMPLE, PROGRAM, SLICE, UNIT, shipped

ROOT: Final = Path(__file__).parents[3]


def test_a_wheel_holds_the_units_and_the_example(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "launcher", source / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir")

    subprocess.run((sys.executable, *build, str(tmp_path), str(source)), check=True)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name).decode() for name in archive.namelist() if "/systemd/" in name}
    assert held == {f"launcher/installation/systemd/{name}": shipped(name) for name in (UNIT, SLICE, EXAMPLE)}


def test_the_shipped_unit_names_the_program_once_and_the_settings_that_are_installed() -> None:
    unit = shipped(UNIT)

    assert unit.count(PROGRAM) == 1
    assert f"\nExecStart={PROGRAM} launcher run\n" in unit
    assert "\nEnvironmentFile=/etc/launchyard/launchyard.env\n" in unit
