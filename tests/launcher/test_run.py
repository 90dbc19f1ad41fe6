"""One order's run: what is started, what is left, and what is told."""

import dataclasses
import errno
import hashlib
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import structlog.testing

from launcher.host.checks.host import Host
from launcher.host.clock import SYSTEM, Clock
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.machines.directory import VmDirectory, read, remaining
from launcher.machines.port import LaunchFailed, Plan
from launcher.orders.assignment import MARGIN, Held, Wish
from launcher.orders.reports import Reports
from launcher.providers.process.supervise import ProcessMachine
from launcher.providers.qemu.provider import QemuProvider
from shared.domain.order import Failure, Reason
from shared.domain.spec import CapacitySpec, NodeSize
from shared.guest.config import WorkerConfig
from shared.guest.image import ImageFile, ImageManifest
from shared.wire.launchers import Hold
from tests.launcher.conftest import Pieces, a_held
from tests.launcher.fake_control_plane import UPDATES
from tests.launcher.stand_ins import ENDS, SMALL, STAYS, TASKS, ManualClock, Processes

ELSEWHERE = CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.TINY)


def test_the_directory_is_whole_before_the_machine_starts(pieces: Pieces) -> None:
    found: list[VmDirectory] = []

    class Looking(Processes):
        def start(self, directory: VmDirectory) -> ProcessMachine:
            found.append(directory)
            assert WorkerConfig.model_validate_json(directory.config.read_bytes()).control_plane == pieces.server.url
            assert stat.S_IMODE(directory.config.stat().st_mode) == 0o600
            assert directory.process() is None
            return super().start(directory)

    held = pieces.held()
    pieces.run(held, Looking(ENDS))

    (directory,) = found
    assert directory.path == pieces.state / "vms" / f"{held.hold.order_id}-1"
    (provisioning, _) = pieces.server.bodies(UPDATES)
    assert provisioning["vm"] == directory.manifest.vm


def test_a_machine_that_ends_by_itself_is_reported_as_exited_and_may_be_tried_again(pieces: Pieces) -> None:
    held = pieces.held()

    pieces.run(held, Processes(ENDS))

    report = pieces.server.bodies(UPDATES)[-1]
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "machine_exited", "retryable")
    assert "exit code 3" in report["message"]


@pytest.mark.parametrize(
    ("program", "last"),
    [
        ("print('first'); print('the last words'); print(' ')", "the last words"),
        ("print('x' * 9000)", "x" * 300),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)) + b'end')", "end"),
        ("pass", "It said nothing"),
    ],
)
def test_a_machine_that_ends_by_itself_is_reported_with_where_its_serial_log_is_and_its_last_line(
    pieces: Pieces, program: str, last: str
) -> None:
    held = pieces.held()

    pieces.run(held, Processes((ENDS[0], "-c", program)))

    message = pieces.server.bodies(UPDATES)[-1]["message"]
    assert str(pieces.state / "logs" / f"{held.hold.order_id}-1.log") in message
    assert last in message
    assert message.isprintable()
    assert len(message) < 1000


def test_of_a_machine_that_is_gone_only_its_serial_log_remains(pieces: Pieces) -> None:
    held = pieces.held()
    speaks = (ENDS[0], "-c", "print('the last words')")

    pieces.run(held, Processes(speaks))

    assert not list((pieces.state / "vms").iterdir())
    assert (pieces.state / "logs" / f"{held.hold.order_id}-1.log").read_text() == "the last words\n"


def test_an_order_that_is_final_already_needs_no_report_and_the_slot_is_freed(pieces: Pieces) -> None:
    held = pieces.begin()
    pieces.server.refuse(UPDATES, 409, "wrong_state")

    held.ask(Wish.CANCELLED)
    pieces.runs.await_end()

    assert pieces.server.statuses(held.hold.order_id) == ["provisioning", "stopped"]
    assert pieces.room() == 2


def test_an_order_whose_lease_was_lost_before_the_start_gets_no_machine(pieces: Pieces) -> None:
    held = pieces.held()
    pieces.server.refuse(UPDATES, 409, "lease_lost")

    pieces.run(held)

    assert pieces.provider.started == 0
    assert pieces.server.statuses(held.hold.order_id) == ["provisioning"]
    assert not list((pieces.state / "vms").iterdir())


def test_a_lost_lease_destroys_the_machine_and_nothing_more_is_told(pieces: Pieces) -> None:
    held = pieces.begin()
    process = the_process(pieces, held)

    held.ask(Wish.LEASE_LOST)
    pieces.runs.await_end()

    assert not process.is_running()
    assert pieces.server.statuses(held.hold.order_id) == ["provisioning"]


def test_a_lease_that_is_not_renewed_ends_the_machine_before_it_ends_itself(pieces: Pieces) -> None:
    pieces.server.lease = timedelta(seconds=24)  # of which the last 4 are there for a busy machine, too
    held = pieces.begin()
    process = the_process(pieces, held)

    pieces.runs.await_end()

    assert not process.is_running()
    assert held.leased()
    assert 0 < held.lease.ends - SYSTEM.monotonic() <= held.lease.seconds * MARGIN
    assert pieces.server.statuses(held.hold.order_id) == ["provisioning"]


def test_a_machine_is_not_started_where_too_little_of_the_lease_is_left(pieces: Pieces) -> None:
    held = pieces.held()
    held.renew(SYSTEM.monotonic() - 50, 60)

    pieces.run(held)

    assert pieces.provider.started == 0
    assert pieces.server.statuses(held.hold.order_id) == ["provisioning"]


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_lease_lasts_as_long_as_it_was_given_for_whatever_the_time_of_day(pieces: Pieces, ahead: timedelta) -> None:
    pieces.server.ahead = ahead

    left = pieces.held().lease_left()

    assert 0 < left <= pieces.server.lease.total_seconds() * (1 - MARGIN)


def test_an_order_that_is_cancelled_before_the_start_gets_no_machine(pieces: Pieces) -> None:
    held = pieces.held()
    held.ask(Wish.CANCELLED)

    pieces.run(held)

    assert pieces.provider.started == 0
    assert pieces.server.statuses(held.hold.order_id) == ["stopped"]


def test_an_order_that_a_launcher_gets_while_going_down_is_returned_and_nothing_is_made_for_it(pieces: Pieces) -> None:
    claimed, room = pieces.server.a_claimed(), pieces.reserve()
    pieces.runs.close()

    pieces.runs.begin(claimed, room, SYSTEM.monotonic())
    pieces.runs.await_end()

    assert pieces.server.statuses(claimed.order_id) == ["returned"]
    assert not (pieces.state / "vms").exists()


def test_an_order_that_is_cancelled_while_it_is_reported_gets_no_machine(pieces: Pieces) -> None:
    class WishedGone(Processes):
        def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> Plan:
            held.ask(Wish.CANCELLED)
            return super().plan(hold, uuid, config)

    held, provider = pieces.held(), WishedGone()

    pieces.run(held, provider)

    assert provider.started == 0
    assert pieces.server.statuses(held.hold.order_id) == ["provisioning", "stopped"]


def test_stopped_is_told_only_once_the_machine_is_gone(pieces: Pieces) -> None:
    held = pieces.begin()
    process = the_process(pieces, held)
    process.suspend()  # it will not hear SIGTERM
    held.ask(Wish.CANCELLED)
    held.hurry()

    pieces.server.wait_for(lambda: "stopped" in pieces.server.statuses(held.hold.order_id))

    assert not process.is_running()


def test_a_report_is_repeated_as_the_same_request_until_it_is_answered(pieces: Pieces) -> None:
    held, paused = pieces.held(), []

    def pause(seconds: float, interrupt: threading.Event) -> None:
        paused.append(seconds)
        if len(paused) == 3:
            pieces.server.serve(UPDATES)

    pieces.server.refuse(UPDATES, 503)
    repeating = dataclasses.replace(pieces, runner=dataclasses.replace(pieces.runner, reports=reports(pieces, pause)))
    repeating.run(held, Processes(ENDS))

    provisioning = [body for body in pieces.server.bodies(UPDATES) if body["status"] == "provisioning"]
    assert paused == [1, 2, 4]
    assert len(provisioning) == 4
    assert all(body == provisioning[0] for body in provisioning)


def test_a_report_that_is_not_answered_is_given_up_when_the_lease_is_over(pieces: Pieces) -> None:
    clock = ManualClock(most=99).clock()
    claimed = pieces.server.a_claimed().model_copy(update={"lease_seconds": 60.0})
    pieces.server.refuse(UPDATES, 503)

    with structlog.testing.capture_logs():
        runner = dataclasses.replace(pieces.runner, reports=Reports(pieces.client, clock))
        held = a_held(claimed, clock)
        runner.run(held, claimed)
        held.close()

    assert pieces.provider.started == 0
    assert len(pieces.server.bodies(UPDATES)) == 7  # at 0, 1, 3, 7, 15, 31 and 61 s


@pytest.mark.parametrize("damaged", ["kernel", "initrd", "root.img", "manifest.json"])
def test_an_image_that_does_not_match_its_digest_is_never_booted(
    pieces: Pieces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    digest = write_image(tmp_path / "image")
    with (tmp_path / "image" / damaged).open("ab") as file:
        file.write(b" ")
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", started.append)

    with_qemu(pieces, tmp_path / "image", digest)(pieces.held())

    (report,) = pieces.server.bodies(UPDATES)
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "image_rejected", "retryable")
    assert damaged in report["message"]
    assert not started
    of_qemu = dataclasses.replace(TASKS, provider="qemu")
    assert pieces.admission.room(of_qemu) == 0  # the next order would meet the same image here


def test_an_image_that_changes_after_the_plan_was_made_is_never_booted(
    pieces: Pieces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ChangedSince(QemuProvider):
        def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> Plan:
            plan = super().plan(hold, uuid, config)
            (self.image / "kernel").write_bytes(b"another")
            return plan

    digest = write_image(tmp_path / "image")
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", started.append)

    provider = ChangedSince(QemuMode.TCG, tmp_path / "image", digest, sizes=SMALL, host=Host(Hypervisor("sh")))
    pieces.run(pieces.held(), provider)

    report = pieces.server.bodies(UPDATES)[-1]
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "image_rejected", "retryable")
    assert "kernel" in report["message"]
    assert not started


def test_without_qemu_the_launch_fails_with_that_reason(pieces: Pieces, tmp_path: Path) -> None:
    digest = write_image(tmp_path / "image")

    with_qemu(pieces, tmp_path / "image", digest, "qemu-that-is-absent")(pieces.held())

    report = pieces.server.bodies(UPDATES)[-1]
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "hypervisor_missing", "retryable")
    assert report["message"].startswith("qemu: no qemu-that-is-absent on the PATH; ")
    assert not (pieces.state / "vms").exists()


def test_a_launch_that_fails_costs_the_launcher_nothing_but_the_attempt_and_a_rest(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.orders.admission.REST_SECONDS", 0)
    pieces.provider.argv = ("/no/such/program",)
    claimed = pieces.server.a_claimed()
    room = pieces.reserve()
    pieces.runs.begin(claimed, room, SYSTEM.monotonic())
    pieces.runs.await_end()
    assert pieces.server.statuses(claimed.order_id) == ["provisioning", "failed"]

    pieces.provider.argv = STAYS
    assert pieces.begin().wish is None


@pytest.mark.parametrize(
    ("reason", "failure", "room"),
    [
        (Reason.LAUNCH_FAILED, Failure.PERMANENT, 2),
        (Reason.LAUNCH_FAILED, Failure.RETRYABLE, 0),
        (Reason.NO_CAPACITY, Failure.NO_CAPACITY, 0),
        (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE, 0),
    ],
)
def test_a_provider_rests_for_what_the_next_order_would_meet_and_for_nothing_that_one_order_asks(
    pieces: Pieces, reason: Reason, failure: Failure, room: int
) -> None:
    class Refuses(Processes):
        def start(self, directory: VmDirectory) -> ProcessMachine:
            raise LaunchFailed("not this one", reason, failure)

    pieces.run(pieces.held(), Refuses())

    report = pieces.server.bodies(UPDATES)[-1]
    assert (report["reason"], report["failure"]) == (reason, failure)
    assert pieces.room() == room


def test_an_order_for_which_no_provider_is_enabled_is_handed_back_and_costs_nobody_anything(pieces: Pieces) -> None:
    claimed = pieces.server.a_claimed().model_copy(update={"spec": ELSEWHERE})

    pieces.runs.begin(claimed, pieces.reserve(), SYSTEM.monotonic())
    pieces.runs.await_end()

    (report,) = pieces.server.bodies(UPDATES)
    assert report["status"] == "returned"
    assert "gcp" in report["message"]
    assert pieces.room() == 2


def test_a_host_that_fails_under_a_run_costs_the_attempt_and_no_machine_is_left(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_held: Held, _machine: ProcessMachine) -> bool:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Held, "watch", exhausted)
    pieces.run(pieces.held())

    report = pieces.server.bodies(UPDATES)[-1]
    assert (report["status"], report["reason"], report["failure"]) == ("failed", "no_capacity", "no_capacity")
    (path,) = remaining(pieces.state)
    recorded = read(path).process()
    assert recorded is not None
    assert not psutil.pid_exists(recorded.pid)


def test_a_directory_that_cannot_be_written_fails_the_launch(pieces: Pieces) -> None:
    (pieces.state / "vms").write_text("not a directory")

    pieces.run(pieces.held())

    (report,) = pieces.server.bodies(UPDATES)
    assert (report["reason"], report["failure"]) == ("launch_failed", "retryable")


def test_a_machine_inherits_nothing_of_the_launchers_environment(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHYARD_LAUNCHER_KEY", "ly_secret")
    held = pieces.begin()

    assert set(the_process(pieces, held).environ()) <= {"PATH", "LANG", "PWD", "LAUNCHYARD_VM"}


def the_process(pieces: Pieces, held: Held) -> psutil.Process:
    return pieces.provider.process(held.hold.order_id)


def reports(pieces: Pieces, pause: Callable[[float, threading.Event], None]) -> Reports:
    clock = Clock(SYSTEM.monotonic, lambda: 0.0, pause)
    return Reports(pieces.client, clock)


def with_qemu(pieces: Pieces, image: Path, digest: str, binary: str = "qemu-system-x86_64") -> Callable[[Held], None]:
    provider = QemuProvider(QemuMode.TCG, image, digest, sizes=SMALL, host=Host(Hypervisor(binary)))
    return lambda held: pieces.run(held, provider)


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
