"""How an attempt ends whose machine cannot be started: the image, the hypervisor, the host."""

import dataclasses
import errno
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import psutil
import pytest
import structlog.testing
from structlog.typing import EventDict

from launcher.host.checks.host import Host
from launcher.host.clock import SYSTEM
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.machines.directory import VmDirectory, read
from launcher.machines.inventory import remaining
from launcher.machines.port import LaunchFailed, MachinePlan
from launcher.orders.assignment import Assignment
from launcher.providers.process.supervise import ProcessMachine
from launcher.providers.qemu.provider import QemuProvider
from shared.domain.order import Failure, Reason
from shared.domain.spec import CapacitySpec, NodeSize
from shared.guest.config import WorkerConfig
from shared.guest.image import ImageFile, ImageManifest
from shared.log_events import LogEvent
from shared.wire.launchers import Hold
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import UPDATES
from tests.launcher.stand_ins import SMALL, STAYS, TASKS, Processes

ELSEWHERE: Final = CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.TINY)


def the_error(logs: Sequence[EventDict], event: LogEvent) -> str:
    """Return the words for the operator in the one line of this event."""
    (error,) = [line["error"] for line in logs if line["event"] == event]
    return str(error)


@pytest.mark.parametrize("damaged", ["kernel", "initrd", "root.img", "manifest.json"])
def test_an_image_that_does_not_match_its_digest_is_never_booted(
    launcher: InProcessLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    digest = write_image(tmp_path / "image")
    with (tmp_path / "image" / damaged).open("ab") as file:
        file.write(b" ")
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", started.append)

    with structlog.testing.capture_logs() as logs:
        with_qemu(launcher, tmp_path / "image", digest)(launcher.assignment())

    (report,) = launcher.server.bodies(UPDATES)
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "image_rejected", "retryable")
    assert damaged in the_error(logs, LogEvent.IMAGE_REJECTED)
    assert not started
    of_qemu = dataclasses.replace(TASKS, provider="qemu")
    assert launcher.admission.room(of_qemu) == 0  # the next order would meet the same image here


def test_an_image_that_changes_after_the_plan_was_made_is_never_booted(
    launcher: InProcessLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ChangedSince(QemuProvider):
        def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> MachinePlan:
            plan = super().plan(hold, uuid, config)
            (self.image / "kernel").write_bytes(b"another")
            return plan

    digest = write_image(tmp_path / "image")
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", started.append)

    provider = ChangedSince(QemuMode.TCG, tmp_path / "image", digest, sizes=SMALL, host=Host(Hypervisor("sh")))
    with structlog.testing.capture_logs() as logs:
        launcher.run(launcher.assignment(), provider)

    report = launcher.server.bodies(UPDATES)[-1]
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "image_rejected", "retryable")
    assert "kernel" in the_error(logs, LogEvent.IMAGE_REJECTED)
    assert not started


def test_without_qemu_the_launch_fails_with_that_reason(launcher: InProcessLauncher, tmp_path: Path) -> None:
    digest = write_image(tmp_path / "image")

    with structlog.testing.capture_logs() as logs:
        with_qemu(launcher, tmp_path / "image", digest, "qemu-that-is-absent")(launcher.assignment())

    report = launcher.server.bodies(UPDATES)[-1]
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "hypervisor_missing", "retryable")
    assert the_error(logs, LogEvent.LAUNCH_FAILED).startswith("qemu: no qemu-that-is-absent on the PATH; ")
    assert not (launcher.state / "vms").exists()


def test_a_launch_that_fails_costs_the_launcher_nothing_but_the_attempt_and_a_rest(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher.admission.rest_seconds = 0
    launcher.provider.argv = ("/no/such/program",)
    claimed = launcher.server.a_claimed()
    room = launcher.reserve()
    launcher.assignments.begin(claimed, room, SYSTEM.monotonic())
    launcher.assignments.await_end()
    assert launcher.server.statuses(claimed.order_id) == ["provisioning", "failed"]

    launcher.provider.argv = STAYS
    assert launcher.begin().stop_reason is None


@pytest.mark.parametrize(
    ("reason", "failure", "room"),
    [
        (Reason.LAUNCH_FAILED, Failure.PERMANENT, 2),
        (Reason.LAUNCH_FAILED, Failure.RETRYABLE, 0),
        (Reason.NO_CAPACITY, Failure.NO_CAPACITY, 0),
        (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE, 0),
    ],
)
def test_a_provider_rests_after_a_failure_that_the_next_order_would_have_too(
    launcher: InProcessLauncher, reason: Reason, failure: Failure, room: int
) -> None:
    class Refuses(Processes):
        def start(self, directory: VmDirectory) -> ProcessMachine:
            raise LaunchFailed("not this one", reason, failure)

    launcher.run(launcher.assignment(), Refuses())

    report = launcher.server.bodies(UPDATES)[-1]
    assert (report["reason"], report["failure"]) == (reason, failure)
    assert launcher.room() == room


def test_an_order_for_which_no_provider_is_enabled_is_returned_and_costs_no_attempt(
    launcher: InProcessLauncher,
) -> None:
    claimed = launcher.server.a_claimed().model_copy(update={"spec": ELSEWHERE})

    launcher.assignments.begin(claimed, launcher.reserve(), SYSTEM.monotonic())
    launcher.assignments.await_end()

    (report,) = launcher.server.bodies(UPDATES)
    assert report["status"] == "returned"
    assert launcher.room() == 2


def test_a_host_that_fails_under_a_run_costs_the_attempt_and_no_machine_is_left(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_held: Assignment, _machine: ProcessMachine) -> bool:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Assignment, "watch", exhausted)
    launcher.run(launcher.assignment())

    report = launcher.server.bodies(UPDATES)[-1]
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "no_capacity", "no_capacity")
    (path,) = remaining(launcher.state)
    recorded = read(path).process()
    assert recorded is not None
    assert not psutil.pid_exists(recorded.pid)


def test_a_directory_that_cannot_be_written_fails_the_launch(launcher: InProcessLauncher) -> None:
    (launcher.state / "vms").write_text("not a directory")

    launcher.run(launcher.assignment())

    (report,) = launcher.server.bodies(UPDATES)
    assert (report["reason"], report["failure"]) == ("launch_failed", "retryable")


def test_a_machine_inherits_nothing_of_the_launchers_environment(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHYARD_LAUNCHER_KEY", "ly_secret")
    assignment = launcher.begin()

    assert set(launcher.provider.process(assignment.hold.order_id).environ()) <= {
        "PATH",
        "LANG",
        "PWD",
        "LAUNCHYARD_VM",
    }


def with_qemu(
    launcher: InProcessLauncher, image: Path, digest: str, binary: str = "qemu-system-x86_64"
) -> Callable[[Assignment], None]:
    provider = QemuProvider(QemuMode.TCG, image, digest, sizes=SMALL, host=Host(Hypervisor(binary)))
    return lambda assignment: launcher.run(assignment, provider)


def write_image(directory: Path) -> str:
    """Write an image of three small files, and return its digest."""
    directory.mkdir()
    files = {}
    for name in ("kernel", "initrd", "root.img"):
        (directory / name).write_bytes(name.encode())
        files[name] = ImageFile(name=name, sha256=hashlib.sha256(name.encode()).hexdigest())
    manifest = ImageManifest(
        kernel=files["kernel"],
        unpacked_kernel=files["kernel"],
        initrd=files["initrd"],
        root=files["root.img"],
        cmdline="quiet",
    )
    (directory / "manifest.json").write_bytes(manifest.canonical())
    return manifest.digest()
