"""`launchyard launcher doctor`, as a process of its own on this very host."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from launcher.cli.doctor import DoctorSettings, case_of
from launcher.host.checks.registry import TABLE
from launcher.host.probe import QemuChoice
from shared.settings import read
from tests.harness.forked import Forked
from tests.launcher.fake_control_plane import FakeControlPlane
from tests.launcher.tdx_host import write

OF_TDX: Final = {"tdx processor", "tdx module", "tdx keys", "qemu version", "tdx-guest", "quote service"}
ROOT: Final = Path(__file__).parents[2]
SMALL: Final = {"LAUNCHYARD_TINY_MEMORY_MIB": "64", "LAUNCHYARD_TINY_VCPUS": "1"}


def doctor(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("LAUNCHYARD_", "EASYENCLAVE_"))}
    with Forked("launcher", ("doctor", *words), {**bare, **SMALL, "COLUMNS": "200", **environment}, ROOT) as command:
        output, errors = command.communicate()
        return subprocess.CompletedProcess(words, command.returncode, output, errors)


def document(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout))


def named(document: dict[str, Any], verdict: str) -> set[str]:
    return {check["name"] for check in document["checks"] if check["verdict"] == verdict}


@pytest.fixture(scope="module")
def in_json() -> "subprocess.CompletedProcess[str]":
    """What the doctor says of this host, for TDX."""
    return doctor("--json")


@pytest.mark.vm
def test_a_host_without_tdx_is_shown_every_missing_thing_and_the_doctor_exits_1(
    in_json: "subprocess.CompletedProcess[str]",
) -> None:
    answer = document(in_json)
    assert in_json.returncode == 1
    assert (answer["mode"], answer["ready"]) == ("tdx", False)
    assert named(answer, "missing") >= OF_TDX
    assert {check["name"] for check in answer["checks"]} == {check.name for check in TABLE}


@pytest.mark.parametrize("name", ["LAUNCHYARD_URL", "CP_URL"])
def test_the_doctor_reads_the_launchers_own_url(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in ("LAUNCHYARD_URL", "CP_URL"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "https://control-plane.example/")

    assert read(DoctorSettings).url == "https://control-plane.example"


@pytest.mark.vm
def test_missing_needs_are_shown_with_what_to_do(in_json: "subprocess.CompletedProcess[str]") -> None:
    missing = named(document(in_json), "missing")

    done = doctor()

    assert done.returncode == 1
    blocks = done.stdout.split("\n\n")[1:]
    assert {block.split(":")[0] for block in blocks[:-1]} == missing
    assert all("\n  needed: " in block and "\n  to do: " in block for block in blocks[:-1])
    assert blocks[-1] == f"Mode tdx: {len(missing)} missing.\n"


@pytest.mark.vm
@pytest.mark.parametrize("mode", ["tcg", "auto"])
def test_emulation_needs_nothing_of_tdx_and_the_doctor_exits_0(mode: str) -> None:
    done = doctor("--mode", mode, "--json")

    answer = document(done)
    assert done.returncode == 0
    assert answer["ready"]
    assert named(answer, "missing") == set()
    assert named(answer, "unneeded") >= OF_TDX


@pytest.mark.vm
def test_the_doctor_checks_the_launchers_own_configuration(tmp_path: Path, server: FakeControlPlane) -> None:
    server.refuse("/v1/health", 503)
    write(tmp_path / "manifest.json", "{}")

    done = doctor(
        *("--mode", "tcg", "--json"),
        LAUNCHYARD_URL=server.url,
        LAUNCHYARD_IMAGE=str(tmp_path),
        LAUNCHYARD_IMAGE_DIGEST="0" * 64,
        LAUNCHYARD_LLM_GPUS="0000:17:00.0",
        LAUNCHYARD_SLICE="launchyard-vms.slice",
        LAUNCHYARD_QEMU="qemu-that-is-absent",
    )

    assert done.returncode == 1
    expected = {"qemu", "emulation", "gpus", "iommu", "image", "control plane"}
    assert named(document(done), "missing") - {"scopes"} == expected | {"guest network"}


@pytest.mark.parametrize(("provider", "checked"), [("process", True), ("qemu", False)])
def test_the_doctor_looks_for_the_executor_only_where_sessions_run_on_this_host(
    monkeypatch: pytest.MonkeyPatch, provider: str, checked: bool
) -> None:
    monkeypatch.setenv("LAUNCHYARD_PROVIDER", provider)
    monkeypatch.setenv("LAUNCHYARD_EXECUTOR", "/opt/executor --flag")
    monkeypatch.setenv("LAUNCHYARD_PROJECT_DIR", "/srv/default")
    monkeypatch.setenv("LAUNCHYARD_PROJECT_DIRS", "/srv/work")

    case = case_of(read(DoctorSettings), QemuChoice.TCG)

    executor, directories = ("/opt/executor", "--flag"), (Path("/srv/default"), Path("/srv/work"))
    assert (case.executor, case.project_dirs) == ((executor, directories) if checked else ((), ()))


def test_wrong_settings_are_reported_and_the_doctor_exits_2() -> None:
    done = doctor(LAUNCHYARD_URL="nowhere", LAUNCHYARD_SLICE="no slice", LAUNCHYARD_LLM_GPUS="17:00.0,host=1")

    assert done.returncode == 2
    assert {line.split(":")[0].split(".")[0] for line in done.stderr.splitlines()} == {
        "LAUNCHYARD_URL",
        "LAUNCHYARD_SLICE",
        "LAUNCHYARD_LLM_GPUS",
    }
