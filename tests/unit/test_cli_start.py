"""The modules that a `launchyard` command loads before it runs, and its message if packages are not installed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LOADED: Final = "import sys; from cli.app import build; build(); print(*sys.modules)"
RUN_WITHOUT: Final = """
import sys
missing, sys.argv = sys.argv[1], ["launchyard", *sys.argv[2:]]
sys.modules[missing] = None  # as if it were not installed: an import of it raises ModuleNotFoundError
from cli.main import run
run()
"""


def run_without(module: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    argv = (sys.executable, "-c", RUN_WITHOUT, module, *words)
    given = {**os.environ, **environment}
    return subprocess.run(argv, cwd=ROOT, env=given, capture_output=True, text=True, check=False)


def test_a_command_loads_no_clouds_libraries_before_it_needs_them() -> None:
    output = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    loaded = set(output.split())
    assert "emulators.commands" in loaded
    assert not loaded & {"boto3", "botocore", "google.cloud.firestore", "google.cloud.pubsub_v1", "grpc"}


def test_a_command_line_that_names_a_command_loads_no_other() -> None:
    named = "import sys; from cli.app import build; build(['order', 'list']); print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", named], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    loaded = set(output.split())
    assert "cli.orders" in loaded
    assert not loaded & {"cli.jobs", "deploy.commands", "emulators.commands", "launcher.cli.daemon", "worker.local.cli"}


def test_help_leaves_out_a_part_whose_packages_are_not_installed() -> None:
    done = run_without("psutil", "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert {"order", "export"} <= set(done.stdout.split())
    assert not {"launcher", "vm", "up", "down"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("launcher", "run", "--slots", "2"), "launcher"),
        (("vm", "--help"), "launcher"),
        (("up",), "emulators"),
    ],
)
def test_a_command_whose_packages_are_not_installed_names_the_extra(words: tuple[str, ...], extra: str) -> None:
    done = run_without("psutil", *words)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"pip install 'launchyard[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_a_command_misses_once_it_runs_is_named_with_its_extra() -> None:
    done = run_without("jwt", "up", "--backend", "memory", "--provider", "process", "--port", "1")

    assert done.returncode == 1
    assert "launchyard[emulators]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_launcher_for_compute_engine_without_its_client_names_the_extra(tmp_path: Path) -> None:
    done = run_without(
        "google.cloud.compute_v1",
        *("launcher", "run", "--providers", "gcp", "--state-dir", str(tmp_path)),
        LAUNCHYARD_URL="http://127.0.0.1:9",
        LAUNCHYARD_LAUNCHER_KEY="key",
        LAUNCHYARD_GCP_PROJECT="project",
    )

    assert (done.returncode, "pip install 'launchyard[launcher-gcp]'" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_without_its_own_packages_the_command_line_names_the_extra() -> None:
    done = run_without("typer", "order", "list")

    assert (done.returncode, "pip install 'launchyard[cli]'" in done.stderr, "Traceback" in done.stderr) == (
        1,
        True,
        False,
    )


def test_a_missing_module_of_our_own_is_not_explained_as_a_missing_package() -> None:
    done = run_without("launcher.cli.daemon", "launcher", "run")

    assert "ModuleNotFoundError" in done.stderr
