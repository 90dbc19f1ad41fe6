"""Clearing what a launcher left: a process is stopped only if it is certainly a machine's."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog.testing

from launcher.machines import directory
from launcher.machines.directory import MANIFEST, PROCESS, VmDirectory
from launcher.machines.port import LaunchFailed
from launcher.machines.records import VmProcess
from launcher.machines.start_times import started_at
from launcher.orders import leftovers
from launcher.providers.process.start import GATE, start_process
from tests.launcher.stand_ins import A_LEASE, STAYS, a_manifest


@pytest.fixture
def left(tmp_path: Path) -> VmDirectory:
    return directory.create(tmp_path, a_manifest(), b"{}", A_LEASE)


@pytest.fixture
def machine(left: VmDirectory) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(left.manifest.argv, start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen((*STAYS, str(uuid4()))) as process:
        yield process
        process.kill()


def test_a_machine_that_still_runs_is_stopped_and_its_directory_removed(
    tmp_path: Path, left: VmDirectory, machine: subprocess.Popen[bytes]
) -> None:
    left.record_process(VmProcess(pid=machine.pid, started=started_at(machine.pid)))

    leftovers.clear(tmp_path)

    assert machine.poll() is not None
    assert not left.path.exists()


def test_a_machine_that_cannot_be_recorded_never_runs(left: VmDirectory, tmp_path: Path) -> None:
    ran, output = tmp_path / "ran", tmp_path / "output"
    manifest = left.manifest.model_copy(update={"argv": ("touch", str(ran))})
    left.remove()

    with pytest.raises(LaunchFailed, match="cannot be recorded"):
        start_process(VmDirectory(left.path, manifest), output)

    assert not ran.exists()


def test_a_machine_whose_daemon_dies_before_it_is_recorded_never_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    with subprocess.Popen((*GATE, "touch", str(ran)), stdin=subprocess.PIPE) as gate:
        gate.communicate()

    assert not ran.exists()


def test_a_process_that_took_over_the_machines_number_is_left_alone(
    tmp_path: Path, left: VmDirectory, stranger: subprocess.Popen[bytes]
) -> None:
    left.record_process(VmProcess(pid=stranger.pid, started=started_at(stranger.pid)))

    leftovers.clear(tmp_path)

    assert stranger.poll() is None
    assert not left.path.exists()


def test_a_process_with_the_machines_arguments_but_another_start_time_is_left_alone(
    tmp_path: Path, left: VmDirectory, machine: subprocess.Popen[bytes]
) -> None:
    left.record_process(VmProcess(pid=machine.pid, started=started_at(machine.pid) - 1))

    leftovers.clear(tmp_path)

    assert machine.poll() is None


def test_a_machine_that_is_gone_leaves_only_its_serial_log(tmp_path: Path, left: VmDirectory) -> None:
    left.serial_log.write_text("booted")
    left.record_process(VmProcess(pid=2**22 - 1, started=1))

    leftovers.clear(tmp_path)

    assert not left.path.exists()
    assert (tmp_path / "logs" / "one-1.log").read_text() == "booted"


def test_a_directory_that_was_never_finished_is_removed(tmp_path: Path) -> None:
    (tmp_path / "vms" / ".one-1.partial").mkdir(parents=True)

    leftovers.clear(tmp_path)

    assert not list((tmp_path / "vms").iterdir())


def test_a_directory_whose_removal_was_cut_short_is_removed_by_the_next_daemon(
    tmp_path: Path, left: VmDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(path: Path) -> None:
        (path / MANIFEST).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut_short)
        with pytest.raises(KeyboardInterrupt):
            left.remove()

    leftovers.clear(tmp_path)

    assert not list((tmp_path / "vms").iterdir())


@pytest.mark.parametrize("damaged", [MANIFEST, PROCESS])
def test_a_directory_that_cannot_be_read_is_logged_and_left_alone_and_the_others_are_cleared(
    tmp_path: Path, left: VmDirectory, damaged: str
) -> None:
    other = directory.create(tmp_path, left.manifest.model_copy(update={"order_id": "two"}), b"{}", A_LEASE)
    (left.path / damaged).write_text("not what it was")

    with structlog.testing.capture_logs() as logs:
        leftovers.clear(tmp_path)

    assert left.path.exists()
    assert not other.path.exists()
    assert sum(line["log_level"] == "error" for line in logs) == 1


def test_leftovers_that_cannot_be_listed_are_logged_and_hold_up_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "vms").write_text("not a folder")

    with structlog.testing.capture_logs() as logs:
        leftovers.clear(tmp_path)

    assert [line["error"] for line in logs] == ["Not a directory"]


def test_the_directory_of_a_machine_whose_provider_is_gone_is_removed_and_another_remote_one_is_left(
    tmp_path: Path,
) -> None:
    fly, gcp = (a_manifest(name, argv=()).model_copy(update={"provider": name, "argv": ()}) for name in ("fly", "gcp"))
    for manifest in (fly, gcp):
        directory.create(tmp_path, manifest, b"{}", A_LEASE)

    leftovers.clear(tmp_path, gone={"fly"})

    assert [path.name for path in tmp_path.glob("vms/*")] == ["gcp-1"]
