"""The bundle is the same for the same sources, wherever it is built, and holds only what the functions import."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path
from typing import Final

import grimp
import pytest

from tools import bundle, locked
from tools.bundle import ROOT, Misplaced, archive, content, made_of
from tools.installed_bundle import InstalledBundle, install, services
from tools.locked import OtherVersions

pytestmark = pytest.mark.infra

COPIED: Final = ("functions", "shared", "tools", "worker")
FILES: Final = ("pyproject.toml", "requirements.lock")
TARGETS: Final = sorted(services())
YEAR_2001: Final = 1_000_000_000
SITE_PACKAGES: Final = Path(str(distribution("packaging").locate_file("")))
PYTHONS: Final = ("python3.14", "python3.13", "python3.12", "python3.11", "/usr/bin/python3")
TARGET_PROGRAM: Final = """
import json, sys
from functions_framework import create_app
create_app(*sys.argv[1:])
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
print(json.dumps([file for file in files if file]))
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """What this checkout's bundle holds."""
    return content()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all that the bundle is made of, in a folder with a space in its name, with files of another age."""
    folder = tmp_path / "another checkout"
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for file in folder.rglob("*"):
        os.utime(file, (YEAR_2001, YEAR_2001))
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> InstalledBundle:
    return install(tmp_path_factory.mktemp("bundle"))


def another_python() -> str:
    """Return a supported Python of another version than ours, or ours if there is no other on this machine."""
    program = "import sys; print(sys.version_info[:2] >= (3, 11) and sys.version)"
    for name in PYTHONS:
        if (found := shutil.which(name)) is not None:
            done = subprocess.run([found, "-c", program], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.strip() not in ("False", sys.version):
                return found
    return sys.executable


def build(folder: Path) -> tuple[bytes, str]:
    """Run the command in a checkout, in an environment that is unlike ours; return the bundle and what is printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LC_ALL": "C",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "4711",
        "PYTHONPATH": str(SITE_PACKAGES),
        "TZ": "Pacific/Auckland",
    }
    argv = [another_python(), "-m", "tools.bundle", "out/functions.zip"]
    done = subprocess.run(argv, cwd=folder, env=environment, umask=0o077, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return (folder / "out" / "functions.zip").read_bytes(), done.stdout


def test_a_build_elsewhere_by_another_python_gives_the_same_bytes(checkout: Path, files: dict[str, bytes]) -> None:
    ours = archive(files)
    theirs, printed = build(checkout)

    assert hashlib.sha256(theirs).hexdigest() == hashlib.sha256(ours).hexdigest()
    assert f"SHA-256  {hashlib.sha256(ours).hexdigest()}\n" in printed
    assert f"size     {len(ours)} bytes, {len(files)} files\n" in printed


def test_files_that_no_function_imports_change_nothing(checkout: Path, files: dict[str, bytes]) -> None:
    for name in (".env", "functions/dev.env", "functions/test_claims.py", "shared/unused.py", "shared/key.pem"):
        (checkout / name).write_text("SECRET = 'a secret'\n")

    assert content(checkout) == files


def test_a_changed_module_changes_the_bundle(checkout: Path, files: dict[str, bytes]) -> None:
    with (checkout / "shared" / "wire" / "workers.py").open("a") as file:
        file.write("# A comment.\n")

    assert archive(content(checkout)) != archive(files)


def test_the_root_holds_main_and_requirements_beside_the_two_packages(files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(BytesIO(archive(files))) as opened:
        entries = opened.infolist()
        assert opened.testzip() is None

    names = [entry.filename for entry in entries]
    assert names == sorted(set(names))
    assert {name.partition("/")[0] for name in names} == {"main.py", "requirements.txt", "functions", "shared"}
    assert [name for name in names if not name.endswith(".py")] == ["requirements.txt"]
    assert {(entry.date_time, entry.external_attr >> 16, entry.compress_type) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644, zipfile.ZIP_STORED)
    }


def test_the_modules_are_exactly_those_that_the_functions_import(files: dict[str, bytes]) -> None:
    graph = grimp.build_graph("functions", "shared", exclude_type_checking_imports=True, cache_dir=None)
    imported = {"functions.main", *graph.find_upstream_modules("functions.main")}
    with_packages = {
        ".".join(name.split(".")[:length]) for name in imported for length in range(1, name.count(".") + 2)
    }

    assert set(modules(files)) == with_packages
    assert "functions.server" not in with_packages


def modules(files: dict[str, bytes]) -> Iterator[str]:
    for name in files:
        if "/" in name:
            yield name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_a_function_that_imports_another_part_is_no_bundle(checkout: Path) -> None:
    with (checkout / "functions" / "ports" / "clock.py").open("a") as file:
        file.write("def f():\n    from worker import memory\n")

    with pytest.raises(Misplaced, match=r"other parts than shared/: worker/__init__\.py, worker/memory\.py"):
        content(checkout)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_main_has_each_entry_point_and_needs_no_file_from_elsewhere(target: str, installed: InstalledBundle) -> None:
    environment = {
        "FUNCTION_TARGET": target,
        "GOOGLE_CLOUD_PROJECT": "a-project",
        "LAUNCHYARD_BUCKET": "gs://outputs-of-a-project",
        "LAUNCHYARD_CALLBACK_SECRET": "a callback secret of tests, of 32 characters or more",
        "LAUNCHYARD_URL": "https://launchyard.example",
    }
    argv = [str(installed.python), "-I", "-c", TARGET_PROGRAM, target, str(installed.main)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    loaded = [Path(file) for file in json.loads(done.stdout.splitlines()[-1])]
    assert installed.main in loaded
    assert [
        file for file in loaded if file.is_relative_to(ROOT) and not file.is_relative_to(installed.python.parents[1])
    ] == []


def test_the_requirements_are_pins_of_the_lock_with_hashes_and_without_addresses(files: dict[str, bytes]) -> None:
    text = files["requirements.txt"].decode()
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    pins = re.split(r"\n(?=\w)", text.strip())
    assert [pin for pin in pins if f"\n{pin}\n" not in f"\n{lock}"] == []
    assert [
        pin for pin in pins if not re.match(r"[a-z0-9.-]+==\S+( ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}", pin)
    ] == []
    assert "://" not in text
    names = {pin.partition("==")[0] for pin in pins}
    assert {"functions-framework", "google-cloud-firestore", "gunicorn"} <= names
    assert {"google-cloud-compute", "moto", "pytest", "qemu-qmp"} & names == set()


def test_packages_that_are_not_of_the_lock_make_no_bundle(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = checkout / "requirements.lock"
    lock.write_text(re.sub(r"^flask==\S+", "flask==0.0.1", lock.read_text(), flags=re.MULTILINE))
    monkeypatch.setattr(locked, "ROOT", checkout)

    with pytest.raises(OtherVersions, match=r"Run `make setup`: .* flask==0\.0\.1$"):
        content()


def test_the_build_names_the_commit_and_says_if_the_checkout_differs_from_it(checkout: Path) -> None:
    assert made_of(checkout) == "a folder that is no git checkout"

    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "All")
    commit = git(checkout, "rev-parse", "HEAD")
    assert made_of(checkout) == f"commit {commit}"

    (checkout / "functions" / "new.py").write_text("")
    assert made_of(checkout) == f"commit {commit} with changes that are not committed"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
    argv = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_without_a_file_to_write_the_command_names_its_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert bundle.main([]) == 2
    assert "python -m tools.bundle dist/launchyard-functions.zip" in capsys.readouterr().err
