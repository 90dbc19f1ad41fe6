"""Each failure to start a machine has its own reason, and the daemon continues."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.host.clock import SYSTEM
from launcher.host.hypervisor import QemuMode
from launcher.machines import directory
from launcher.machines.directory import MAX_LOG_MIB, MIB
from launcher.machines.failures import of_words
from launcher.machines.port import MachinePlan
from launcher.providers.process.identity import MARK
from launcher.providers.process.provider import ProcessProvider
from launcher.providers.process.start import environment
from launcher.providers.qemu.provider import QemuProvider
from shared.guest.config import WorkerConfig
from shared.wire.launchers import Hold
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import DEADLINE, UPDATES
from tests.launcher.stand_ins import A_LEASE, SMALL, STAYS, a_manifest

PRINTS_TMPDIR = "import tempfile, time; print(tempfile.mkdtemp(prefix='worker-'), flush=True)"


def the_failure(launcher: InProcessLauncher) -> tuple[str, str]:
    report = launcher.server.bodies(UPDATES)[-1]
    assert report["status"] == "failed"
    return report["reason"], report["failure"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    "full", ["launcher.machines.directory.write_durably", "launcher.providers.process.start.VmDirectory.record_process"]
)
def test_a_full_disk_is_the_failures_reason_and_uses_no_attempt(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch, number: int, full: str
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(full, refuse)
    launcher.admission.rest_seconds = 0

    launcher.run(launcher.assignment())

    assert the_failure(launcher) == ("disk_full", "no_capacity")
    assert not list((launcher.state / "vms").iterdir())
    monkeypatch.undo()
    assert launcher.begin().stop_reason is None


def test_an_image_that_is_not_there_may_be_there_another_time(launcher: InProcessLauncher) -> None:
    provider = QemuProvider(QemuMode.TCG, launcher.state / "no-image", "0" * 64, sizes=SMALL)

    launcher.run(launcher.assignment(), provider)

    assert the_failure(launcher) == ("image_missing", "retryable")


def test_a_host_without_a_descriptor_left_returns_the_order_and_continues(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_value: int, _flags: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    claimed, room = launcher.server.a_claimed(), launcher.reserve()
    monkeypatch.setattr(os, "eventfd", exhausted)
    launcher.admission.rest_seconds = 0

    launcher.assignments.begin(claimed, room, SYSTEM.monotonic())
    launcher.assignments.await_end()

    assert the_failure(launcher) == ("no_capacity", "no_capacity")
    monkeypatch.undo()
    assert launcher.begin().stop_reason is None


def test_an_adopted_machine_that_cannot_be_watched_is_ended(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_value: int, _flags: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    assignment = launcher.assignment()
    vm = directory.create(launcher.state, a_manifest(assignment.hold.order_id), b"{}", A_LEASE)
    machine = launcher.provider.start(vm)
    monkeypatch.setattr(os, "eventfd", exhausted)

    launcher.runner.resume(assignment, vm, machine)

    assert the_failure(launcher) == ("no_capacity", "no_capacity")
    assert not psutil.pid_exists(machine.pid)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-netdev user,hostfwd=…: Could not set up host forwarding: Address already in use", "port_taken retryable"),
        ("KVM_TDX_INIT_VM failed: No space left on device", "no_capacity no_capacity"),
        ("Failed to write to disk: No space left on device", "disk_full no_capacity"),
        ("cannot set up guest memory 'pc.ram': Cannot allocate memory", "no_capacity no_capacity"),
        ("Cannot allocate memory", "no_capacity no_capacity"),
        ("-device no-such-device: not a valid device model name", "launch_failed retryable"),
        ("", "launch_failed retryable"),
    ],
)
def test_qemus_output_decides_the_failures_reason(words: str, expected: str) -> None:
    failed = of_words(words, "It did not start.")

    assert f"{failed.reason} {failed.failure}" == expected


def test_a_log_that_has_grown_too_large_starts_anew_and_its_writer_goes_on(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    vm = directory.read(directory.location(launcher.state, assignment.hold.order_id, 1))
    with vm.serial_log.open("ab") as machine:
        machine.write(b"x" * (MAX_LOG_MIB * MIB + 1))
        machine.flush()

        assignment.renew(assignment.lease.ends, 60)
        machine.write(b"and on")

    assert vm.serial_log.read_bytes() == b"and on"


def test_a_plain_workers_temporary_files_are_removed_with_its_machine(launcher: InProcessLauncher) -> None:
    class Telling(ProcessProvider):
        def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> MachinePlan:
            return MachinePlan((STAYS[0], "-c", PRINTS_TMPDIR, uuid))

    assignment = launcher.assignment()
    launcher.run(assignment, Telling(launcher.state))

    actual = Path((launcher.state / "logs" / f"{assignment.hold.order_id}-1.log").read_text().strip())
    assert actual.is_relative_to(directory.location(launcher.state, assignment.hold.order_id, 1))
    assert not actual.exists()


def test_a_machine_and_its_child_processes_carry_the_mark_in_their_environment(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    vm = directory.read(directory.location(launcher.state, assignment.hold.order_id, 1))
    process = launcher.provider.process(assignment.hold.order_id)

    deadline = time.monotonic() + DEADLINE
    while not (variables := process.environ()):  # it has none for a moment, when its program starts
        assert time.monotonic() < deadline
    assert variables[MARK] == vm.manifest.uuid
    assert environment("one")[MARK] == "one"
