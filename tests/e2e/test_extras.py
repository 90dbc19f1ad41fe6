"""Each extra, installed alone from requirements.lock, brings everything that its part imports, and no more."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from emulators.environment import make_environment
from emulators.settings import BackendChoice, StackSettings
from shared.guest.image import file_digest
from tools.locked import locked

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = ("cli", "deploy", "emulators", "functions", "launcher", "shared", "tools", "worker")
GCP: Final = "launcher.providers.gcp"
LAUNCHER: Final = f"[name for name in every('launcher') if not name.startswith('{GCP}.')]"
IMPORTS: Final = {
    "functions": "every('functions')",
    "launcher": LAUNCHER,
    "launcher-gcp": "every('launcher')",
    "cli": "every('cli')",
    "deploy": "every('deploy')",
    "worker": "every('worker')",
    "emulators": "every('emulators')",
}
IMPORT_ALL: Final = """
import importlib, pkgutil
def every(part):
    package = importlib.import_module(part)
    names = (found.name for found in pkgutil.walk_packages(package.__path__, f"{part}."))
    return [name for name in names if not name.endswith(".__main__")]
names = every("shared") + {names}
for name in names:
    importlib.import_module(name)
print(len(names))
"""
COMMANDS: Final = {
    "cli": ({"order", "export"}, {"launcher", "vm", "up"}),
    "launcher": ({"order", "export", "launcher", "vm"}, set()),
    "worker": ({"order", "export", "worker"}, {"launcher", "vm", "up"}),
}
"""What `launchyard --help` shows with an extra, and what it does not show."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our own wheel, built from a copy of the sources, and the locked packages of all extras."""
    folder, wheels = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheels")
    for name in SHIPPED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(folder))
    (folder / "all.lock").write_text(locked(list(IMPORTS)))
    how = ("--no-deps", "--require-hashes", "--dest", str(wheels))
    pip("download", *how, "--requirement", str(folder / "all.lock"))
    return wheels


@pytest.mark.parametrize("extra", IMPORTS)
def test_an_extra_installed_alone_brings_all_that_its_part_imports(extra: str, wheels: Path, tmp_path: Path) -> None:
    python = install(extra, wheels, tmp_path)

    program = IMPORT_ALL.replace("{names}", IMPORTS[extra])
    environment = make_environment(StackSettings(backend=BackendChoice.MEMORY))  # functions.main reads it when imported
    done = subprocess.run(
        [python, "-I", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 20
    help_works(python.with_name("launchyard"), extra, tmp_path)


def help_works(launchyard: Path, extra: str, folder: Path) -> None:
    """The command works with any extra: it shows the parts that are installed, and names the extra of any other."""
    lacks_the_emulators = extra in COMMANDS
    shown, up = (
        subprocess.run([launchyard, *words], cwd=folder, capture_output=True, text=True, check=False)
        for words in (["--help"], ["up"] if lacks_the_emulators else ["up", "--help"])  # else it would start a stack
    )

    assert "Traceback" not in shown.stderr + up.stderr
    if lacks_the_emulators:
        present, absent = COMMANDS[extra]
        words = set(shown.stdout.split())
        assert shown.returncode == 0
        assert (present - words, absent & words) == (set(), set())
        assert (up.returncode, "pip install 'launchyard[emulators]'" in " ".join(up.stderr.split())) == (1, True)
    if extra == "functions":
        assert (shown.returncode, "pip install 'launchyard[cli]'" in shown.stderr) == (1, True)


def install(extra: str, wheels: Path, folder: Path) -> Path:
    """Return the Python of a new environment with our wheel and the locked packages of this extra."""
    lock = folder / f"{extra}.lock"
    lock.write_text(f"{locked([extra])}{ours(wheels)}")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    # The lock is to be complete: no dependency is added to it, and the check finds one that is missing. What is
    # imported is compiled then; most of what is installed is not imported.
    how = ("--no-deps", "--no-compile", "--no-index", "--find-links", str(wheels), "--require-hashes")
    pip("--python", str(python), "install", *how, "--requirement", str(lock))
    pip("--python", str(python), "check")
    return python


def ours(wheels: Path) -> str:
    """Return the line of a lock that names our own wheel."""
    [built] = wheels.glob("launchyard-*.whl")
    return f"launchyard @ {built.as_uri()} --hash=sha256:{file_digest(built)}\n"


def pip(*words: str) -> None:
    """Run our own environment's pip; `--python` names another that it works for."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
