"""What an earlier daemon left: stopped where it is certain to be its machine, and never otherwise."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from launcher import leftovers
from launcher.vm import directory
from launcher.vm.directory import VmDirectory, VmManifest, VmProcess
from launcher.vm.machine import started_at
from tests.launcher.stand_ins import STAYS


@pytest.fixture
def left(tmp_path: Path) -> VmDirectory:
    uuid = str(uuid4())
    manifest = VmManifest(
        order_id="one",
        epoch=1,
        vm=f"vm-{uuid}",
        uuid=uuid,
        provider="processes",
        mode=None,
        image_digest=None,
        argv=(*STAYS, uuid),
    )
    return directory.create(tmp_path, manifest, b"{}")


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


def test_a_machine_that_was_started_but_not_yet_recorded_is_stopped(
    tmp_path: Path, left: VmDirectory, machine: subprocess.Popen[bytes]
) -> None:
    leftovers.clear(tmp_path)

    assert machine.poll() is not None
    assert not left.path.exists()


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
