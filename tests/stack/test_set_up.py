"""`make` in a checkout on a fresh system, whose apt-get and Python only record their arguments."""

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ("Makefile", "infra/setup", "infra/debian/install", "requirements.lock", "pyproject.toml")
TOOLS: Final = (
    "cat",
    "cmp",
    "cp",
    "dirname",
    "env",
    "flock",
    "grep",
    "head",
    "make",
    "mkdir",
    "rm",
    "sh",
    "sha256sum",
    "touch",
)
MAKE: Final = shutil.which("make") or "make"

PYTHON: Final = """#!/bin/sh
echo "${0##*/} $*" >> "$NOTES"
case "$1 $2" in
  "--version ") echo "Python 3.12.1" ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") [ ! -e "$NOTES.no-index" ] ;;
  "-m emulators.google") exit 1 ;;
esac
"""
"""A Python that fits, whose virtual environment is a copy of itself."""

APT_GET: Final = """#!/bin/sh
echo "apt-get $*" >> "$NOTES"
case "$1" in install) cp "$SYSTEM/../python" "$SYSTEM/python3"; touch "$NOTES.installed" ;; esac
"""
DPKG_QUERY: Final = """#!/bin/sh
[ ! -e "$NOTES.installed" ] || echo installed
"""
ID: Final = """#!/bin/sh
echo "${USER_ID:-0}"
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout, and a system with nothing but make and what every Debian has."""

    folder: Path
    bin: Path
    notes: Path

    def make(self, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [MAKE, *words],
            cwd=self.folder,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self, **settings: str) -> dict[str, str]:
        return {"PATH": str(self.bin), "SYSTEM": str(self.bin), "NOTES": str(self.notes), **settings}

    def noted(self) -> list[str]:
        """Return what was run since the last look."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return lines


def script(path: Path, body: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder, programs = tmp_path / "checkout", tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).symlink_to(shutil.which(tool) or "")
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    script(tmp_path / "python", PYTHON)
    for name, body in {"apt-get": APT_GET, "dpkg-query": DPKG_QUERY, "id": ID}.items():
        script(programs / name, body)
    return Checkout(folder, programs, tmp_path / "notes")


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """A checkout in which the set-up has run."""
    done = checkout.make("setup")
    assert done.returncode == 0, done.stderr
    checkout.noted()
    return checkout


@pytest.mark.parametrize("target", ["demo", "test", "up", "lint", "check", "docs", "guest-image"])
def test_each_command_installs_python_first_and_then_uses_it(checkout: Checkout, target: str) -> None:
    done = checkout.make(target, "--dry-run")
    assert done.stdout.splitlines()[0] == "infra/setup"
    assert "python3" not in done.stdout
    assert " -m venv" not in done.stdout


def test_the_first_make_installs_packages_makes_the_venv_and_goes_on(checkout: Checkout) -> None:
    done = checkout.make("demo")
    assert done.returncode == 0, done.stderr
    noted = checkout.noted()
    order = [
        "apt-get install",
        "-m venv .venv",
        "--require-hashes",
        "-e .",
        "-m worker.guest.build",
        "-m emulators.demo",
    ]
    places = [next(place for place, line in enumerate(noted) if words in line) for words in order]
    assert places == sorted(places)


def test_a_finished_set_up_is_left_alone(ready: Checkout) -> None:
    assert ready.make("setup").stderr == ""
    assert not [line for line in ready.noted() if "-m venv" in line or "pip install" in line or "apt-get" in line]


def test_missing_packages_are_named_in_one_line_to_a_user_who_may_not_install_them(checkout: Checkout) -> None:
    done = checkout.make("demo", USER_ID="1000")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert len(lines) == 1
    assert "apt-get install -y --no-install-recommends python3-venv qemu-system-x86" in lines[0]
    assert not [line for line in checkout.noted() if line.startswith("apt-get")]


def test_a_system_without_apt_gets_the_names_of_the_packages(checkout: Checkout) -> None:
    (checkout.bin / "apt-get").unlink()
    done = checkout.make("demo")
    assert done.returncode != 0
    assert "Debian 12 or later, or Ubuntu 24.04 or later" in done.stderr


@pytest.mark.parametrize("name", ["python3.14", "python3.13", "python3.12", "python3.11", "python3"])
def test_any_fitting_python_is_found_by_any_of_its_names(ready: Checkout, name: str) -> None:
    shutil.rmtree(ready.folder / ".venv")
    (ready.bin / "python3").rename(ready.bin / name)
    assert ready.make("setup").returncode == 0
    assert f"{name} -m venv .venv" in ready.noted()


def test_an_unsupported_python_is_named_with_what_to_do(ready: Checkout) -> None:
    shutil.rmtree(ready.folder / ".venv")
    script(ready.bin / "python3", '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.12"\n')
    done = ready.make("demo")
    assert done.returncode != 0
    assert "Python 3.11 to 3.14" in done.stderr
    assert "Python 3.10.12" in done.stderr
    assert "PYTHON=" in done.stderr


def test_a_half_made_venv_is_made_again(checkout: Checkout) -> None:
    no_index = checkout.notes.with_name("notes.no-index")
    no_index.touch()
    assert checkout.make("demo").returncode != 0
    assert not [line for line in checkout.noted() if "emulators.demo" in line]
    left = checkout.folder / ".venv" / "left"
    left.touch()
    no_index.unlink()
    assert checkout.make("demo").returncode == 0
    assert not left.exists()


def test_a_venv_of_a_removed_python_is_made_again(ready: Checkout) -> None:
    python = ready.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.9")
    assert ready.make("setup").returncode == 0
    assert python.is_file()


def test_a_venv_of_another_folder_is_made_again(ready: Checkout, tmp_path: Path) -> None:
    moved = Checkout(ready.folder.rename(tmp_path / "elsewhere"), ready.bin, ready.notes)
    assert moved.make("setup").returncode == 0
    assert "python3 -m venv .venv" in moved.noted()


def test_a_changed_lock_is_installed_into_the_same_venv(ready: Checkout) -> None:
    with (ready.folder / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert ready.make("setup").returncode == 0
    noted = ready.noted()
    assert [line for line in noted if "--require-hashes" in line]
    assert not [line for line in noted if "-m venv" in line]


def test_two_set_ups_side_by_side_make_one_venv(checkout: Checkout) -> None:
    environment = checkout.environment()
    both = [subprocess.Popen([MAKE, "setup"], cwd=checkout.folder, env=environment) for _ in range(2)]
    assert [one.wait(300) for one in both] == [0, 0]
    assert len([line for line in checkout.noted() if "-m venv" in line]) == 1


def test_the_tools_of_this_test_hold_no_python(checkout: Checkout) -> None:
    assert not [name for name in os.listdir(checkout.bin) if name.startswith("python")]
