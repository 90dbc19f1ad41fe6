"""What the next daemon makes of what an earlier one left: adopted, reported, put aside; and nothing else is touched."""

import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, cast
from uuid import uuid4

import psutil
import pytest
import structlog.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher.daemon.daemon import Daemon, Events
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM, Clock
from launcher.machines import directory
from launcher.machines.directory import LEASE, MANIFEST, PROCESS, VmDirectory, read
from launcher.machines.records import VmLease, VmManifest, VmProcess
from launcher.orders.adoption import Adoption, holds_in
from launcher.orders.assignment import Assignment, StopReason
from launcher.orders.assignments import Assignments
from launcher.orders.attempt import AttemptRunner
from launcher.orders.mode import Mode
from launcher.orders.reconciliation import Reconciliation
from launcher.orders.reports import ReportSender
from launcher.providers.process.identity import end_stragglers, started_at
from launcher.providers.process.start import start_process
from launcher.providers.process.supervise import ProcessMachine
from launcher.providers.registry import Providers
from launcher.vm_tool.machines import new_name
from shared.domain.order import State
from shared.guest.config import Sources
from shared.log_events import LogEvent
from shared.wire.launchers import Hold, HoldsView, HoldView, StopOrder
from tests.launcher.conftest import InProcessLauncher, room_for
from tests.launcher.fake_control_plane import DEADLINE, HEARTBEATS, HOLDS, UPDATES
from tests.launcher.stand_ins import STAYS, TASKS, a_manifest

PARENT: Final = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
"""A machine with a child in a session of its own."""


@dataclass(frozen=True)
class Left:
    """A machine that an earlier daemon started, whose child it is no more, as far as the next daemon knows."""

    directory: VmDirectory
    machine: ProcessMachine

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.machine.pid)

    @property
    def order_id(self) -> str:
        return self.directory.manifest.order_id

    def reaped(self) -> int:
        """Return how it ended, as only its parent learns."""
        return os.waitstatus_to_exitcode(os.waitpid(self.machine.pid, 0)[1])


@pytest.fixture
def leave(launcher: InProcessLauncher) -> Iterator[Callable[..., Left]]:
    """Leave machines behind, each with a lease of so many seconds from now; none outlives the test."""
    left: list[Left] = []

    def leave_one(argv: tuple[str, ...] = STAYS, seconds: float = 60) -> Left:
        vm = a_directory(launcher.state, argv, seconds)
        machine = start_process(vm, vm.serial_log)
        machine.leave()
        left.append(Left(vm, machine))
        return left[-1]

    yield leave_one
    for one in left:
        end_stragglers(one.directory.manifest.uuid)
        with suppress(ChildProcessError):
            os.waitpid(one.machine.pid, 0)


def a_directory(state: Path, argv: tuple[str, ...] = STAYS, seconds: float = 60) -> VmDirectory:
    manifest = a_manifest(str(uuid4()), argv)
    return directory.create(state, manifest, b"{}", VmLease(ends=SYSTEM.monotonic() + seconds, seconds=seconds))


def adopt(launcher: InProcessLauncher) -> list[dict[str, object]]:
    """Do what a daemon does at its start, and return what it says."""
    with structlog.testing.capture_logs() as logs:
        Adoption(launcher.runner, launcher.assignments, launcher.admission).run()
    return [dict(line) for line in logs]


def test_a_machine_that_runs_is_adopted_renewed_and_ended_when_its_client_cancels(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave()

    adopt(launcher)
    (assignment,) = launcher.assignments.held()
    heartbeat = HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)
    launcher.server.lease = timedelta(minutes=10)
    heartbeat.beat()

    assert left.process.is_running()
    assert assignment.lease_left() > 400
    assert left.directory.lease() == assignment.lease
    assert launcher.room() == 1

    launcher.server.stops = [StopOrder(order_id=left.order_id, epoch=1, why="cancelled")]
    heartbeat.beat()
    launcher.assignments.await_end()

    assert left.reaped() == -signal.SIGTERM
    assert launcher.server.statuses(left.order_id) == ["stopped"]
    assert not left.directory.path.exists()
    launcher.await_room(2)


def test_a_lease_that_was_recorded_before_the_host_booted_anew_is_over(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave()
    left.directory.record_lease(VmLease(ends=SYSTEM.monotonic() + 30 * 24 * 3600, seconds=60))

    adopt(launcher)
    launcher.await_room(2)

    assert left.reaped() == -signal.SIGKILL
    assert not left.directory.path.exists()


def test_two_daemons_one_after_the_other_run_one_machine(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    process = launcher.provider.process(assignment.hold.order_id)
    first, second = Events(), Events()

    first.put(signal.SIGTERM)
    assert a_daemon(launcher, launcher.assignments).run(first) == 0
    assert process.is_running()
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]

    launcher.server.stops = [StopOrder(order_id=assignment.hold.order_id, epoch=1, why="finished")]
    assignments = Assignments(launcher.runner.run, room_for(launcher.state, 2), SYSTEM)
    next_daemon = threading.Thread(target=a_daemon(launcher, assignments).run, args=(second,))
    next_daemon.start()
    os.waitpid(process.pid, 0)
    second.put(signal.SIGTERM)
    next_daemon.join(DEADLINE)

    assert not next_daemon.is_alive()
    assert {hold["order_id"] for body in launcher.server.bodies(HEARTBEATS) for hold in body["holds"]} == {
        assignment.hold.order_id
    }
    assert not list((launcher.state / "vms").iterdir())


def test_an_adopted_machine_that_ends_by_itself_is_reported_without_an_exit_code(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave()
    adopt(launcher)

    left.process.kill()
    left.reaped()
    launcher.assignments.await_end()

    (report,) = launcher.server.bodies(UPDATES)
    assert (report["status"], report["exit_code"]) == ("machine_gone", None)
    assert "exit code" not in report["message"]


def test_an_adopted_machine_is_ended_in_time_although_the_control_plane_is_away(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    for path in (UPDATES, HEARTBEATS):
        launcher.server.refuse(path, 503)
    left = leave(seconds=24)  # of which the last 4 are there for a busy machine, too
    lease = left.directory.lease()

    adopt(launcher)
    launcher.assignments.await_end()

    assert left.reaped() == -signal.SIGKILL
    assert SYSTEM.monotonic() < lease.ends


@pytest.mark.parametrize("lease", ["not a lease", '{"ends": 0.0, "seconds": 60.0}'])
def test_a_machine_whose_lease_is_over_or_unknown_is_ended_at_once(
    launcher: InProcessLauncher, leave: Callable[..., Left], lease: str
) -> None:
    left = leave()
    (left.directory.path / LEASE).write_text(lease)

    adopt(launcher)
    launcher.assignments.await_end()

    assert left.reaped() == -signal.SIGKILL
    assert not launcher.server.bodies(UPDATES)


def test_a_machine_whose_process_is_gone_is_reported_as_exited_and_its_stragglers_are_ended(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave((sys.executable, "-c", PARENT))
    straggler = psutil.Process(int(first_line(left.directory.serial_log)))
    left.process.kill()
    left.reaped()
    assert straggler.is_running()

    adopt(launcher)
    launcher.assignments.await_end()

    (report,) = launcher.server.bodies(UPDATES)
    assert (report["status"], report["exit_code"]) == ("machine_gone", None)
    assert not is_running(straggler)
    assert not left.directory.path.exists()


def test_a_machine_that_ended_and_was_not_reaped_counts_as_ended(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave()
    left.process.kill()
    os.waitid(os.P_PID, left.machine.pid, os.WEXITED | os.WNOWAIT)

    adopt(launcher)
    launcher.assignments.await_end()

    (report,) = launcher.server.bodies(UPDATES)
    assert report["status"] == "machine_gone"
    left.reaped()


def test_what_an_adopted_machine_started_is_ended_with_it(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave((sys.executable, "-c", PARENT))
    straggler = psutil.Process(int(first_line(left.directory.serial_log)))
    adopt(launcher)
    (assignment,) = launcher.assignments.held()

    assignment.stop(StopReason.FINISHED)
    launcher.assignments.await_end()

    assert not is_running(straggler)
    left.reaped()


def test_a_machine_that_was_never_started_burns_no_attempt(launcher: InProcessLauncher) -> None:
    vm = a_directory(launcher.state)

    adopt(launcher)
    launcher.assignments.await_end()

    assert launcher.server.statuses(vm.manifest.order_id) == ["returned"]
    assert not vm.path.exists()


def test_a_process_that_has_the_machines_number_by_now_is_left_alone_and_the_machine_is_an_ended_one(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    vm, stranger = a_directory(launcher.state), leave()
    pid = stranger.machine.pid
    vm.record_process(VmProcess(pid=pid, started=started_at(pid) - 1))
    stranger.directory.path.rename(launcher.state / "elsewhere")

    adopt(launcher)
    launcher.assignments.await_end()

    assert stranger.process.is_running()
    (report,) = launcher.server.bodies(UPDATES)
    assert report["status"] == "machine_gone"
    assert not vm.path.exists()


def test_a_process_that_is_the_recorded_one_and_does_not_name_the_machine_is_never_killed(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    vm, stranger = a_directory(launcher.state), leave()
    pid = stranger.machine.pid
    vm.record_process(VmProcess(pid=pid, started=started_at(pid)))
    stranger.directory.path.rename(launcher.state / "elsewhere")

    logs = adopt(launcher)

    assert not launcher.assignments.held()
    assert stranger.process.is_running()
    assert_quarantined(launcher, vm, logs)


@pytest.mark.parametrize("damaged", [MANIFEST, PROCESS])
def test_a_directory_that_cannot_be_read_is_kept_aside_and_its_process_runs_on(
    launcher: InProcessLauncher, leave: Callable[..., Left], damaged: str
) -> None:
    left = leave()
    (left.directory.path / damaged).write_text("not what it was")

    logs = adopt(launcher)

    assert not launcher.assignments.held()
    assert left.process.is_running()
    assert_quarantined(launcher, left.directory, logs)


@pytest.mark.parametrize("short_of", ["reading", "watching"])
def test_a_host_that_is_short_of_descriptors_puts_nothing_aside_and_leaves_what_was_adopted_running(
    launcher: InProcessLauncher, leave: Callable[..., Left], monkeypatch: pytest.MonkeyPatch, short_of: str
) -> None:
    first, second = sorted((leave(), leave()), key=lambda left: left.directory.path)
    reading, watching = Path.read_bytes, os.pidfd_open

    def read_bytes(path: Path) -> bytes:
        if short_of == "reading" and path == second.directory.path / MANIFEST:
            raise OSError(errno.EMFILE, "Too many open files")
        return reading(path)

    def pidfd_open(pid: int, flags: int = 0) -> int:
        if short_of == "watching" and pid == second.machine.pid:
            raise OSError(errno.EMFILE, "Too many open files")
        return watching(pid, flags)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)
    adoption = Adoption(launcher.runner, launcher.assignments, launcher.admission)
    daemon = Daemon(adoption.run, launcher.admission, launcher.assignments, lambda: None, heartbeat, drain_seconds=60)

    with pytest.raises(OSError, match="Too many open files"):
        daemon.run(Events())
    assert launcher.assignments.held() == ()
    assert first.process.is_running()
    assert second.process.is_running()
    assert sorted(directory.remaining(launcher.state)) == [first.directory.path, second.directory.path]


def test_a_directory_without_a_manifest_is_kept_aside_and_the_others_are_adopted(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    strange = launcher.state / "vms" / "0-strange"
    strange.mkdir(parents=True)
    left = leave()

    adopt(launcher)

    assert (launcher.state / "quarantine" / "0-strange").is_dir()
    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [left.order_id]


@pytest.mark.parametrize("damaged", [MANIFEST, PROCESS])
def test_the_log_of_a_quarantined_directory_names_what_still_runs_of_it(
    launcher: InProcessLauncher, leave: Callable[..., Left], damaged: str
) -> None:
    left = leave()
    (left.directory.path / damaged).write_text("{}")

    (line,) = [line for line in adopt(launcher) if line["log_level"] == "error"]

    if damaged == MANIFEST:  # nobody can tell whose it is
        assert "LAUNCHYARD_VM" in str(line["to_do"])
    else:
        assert (line["uuid"], line["pids"]) == (left.directory.manifest.uuid, [left.machine.pid])
        assert "pid" in str(line["why"])


def test_machines_of_the_operators_are_left_alone(launcher: InProcessLauncher, leave: Callable[..., Left]) -> None:
    manifest = a_manifest(str(uuid4()), epoch=0).model_copy(update={"vm": new_name()})
    theirs = directory.create(launcher.state, manifest, b"{}", VmLease(ends=0, seconds=0))
    left = leave()

    adopt(launcher)

    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [left.order_id]
    assert read(theirs.path) == theirs
    assert holds_in(launcher.state) == {Hold(order_id=left.order_id, epoch=1)}


@pytest.mark.parametrize("how", ["copied", "linked"])
def test_a_copy_of_a_directory_or_a_link_to_it_is_put_aside_and_its_machine_adopted_once(
    launcher: InProcessLauncher, leave: Callable[..., Left], how: str
) -> None:
    left = leave()
    other = left.directory.path.with_name(f"0-{left.directory.path.name}")
    if how == "copied":
        shutil.copytree(left.directory.path, other)
    else:
        other.symlink_to(left.directory.path)

    (line,) = [line for line in adopt(launcher) if line["log_level"] == "error"]

    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [left.order_id]
    assert "pids" not in line
    assert left.process.is_running()


def test_a_directory_that_is_put_aside_a_second_time_is_put_beside_the_first(launcher: InProcessLauncher) -> None:
    for _ in range(2):
        (launcher.state / "vms" / "strange").mkdir(parents=True)
        adopt(launcher)

    assert sorted(path.name for path in (launcher.state / "quarantine").iterdir()) == ["strange", "strange.1"]


def test_directories_that_cannot_be_listed_are_not_taken_for_none(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    (launcher.state / "vms").write_text("not a folder")

    with pytest.raises(NotADirectoryError):
        adopt(launcher)


class Resumed:
    """The runs, as far as adoption knows them: what is to be gone on with is noted, and nothing done."""

    def __init__(self) -> None:
        self.holds: list[Hold] = []

    def resume(self, hold: Hold, *_: object) -> None:
        self.holds.append(hold)


NAMES: Final = st.sampled_from(
    ["0-1", "zz-1", "x", "notes.txt", "lost+found", ".hidden", ".x-1.partial", ".x-1.removed", "é-1", "a b-2"]
)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=5,
)
FIELDS: Final = st.sampled_from([*VmManifest.model_fields, "pid", "started", "ends", "seconds"])
CONTENTS: Final = st.binary(max_size=50) | st.dictionaries(FIELDS, VALUES).map(lambda made: json.dumps(made).encode())
FILES: Final = st.dictionaries(st.sampled_from([MANIFEST, PROCESS, LEASE, "config.json", "x"]), CONTENTS)
NEARLY: Final = st.dictionaries(FIELDS, VALUES, max_size=2).map(
    lambda changes: {MANIFEST: json.dumps(a_manifest("0").model_dump(mode="json") | changes).encode()}
)
"""The manifest of the directory 0-1, but for a field or two."""


@settings(deadline=None, max_examples=100, derandomize=True)
@example(garbage={"0-0": {MANIFEST: a_manifest("0", epoch=0).model_dump_json().encode()}})
@example(garbage={"-1": {MANIFEST: a_manifest("").model_dump_json().encode()}})
@given(garbage=st.dictionaries(NAMES, CONTENTS | FILES | NEARLY | st.just("link") | st.just("nowhere"), max_size=4))
def test_whatever_lies_beside_a_machines_directory_it_is_adopted(garbage: Mapping[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        good = a_directory(state)
        for name, content in garbage.items():
            write_at(state / "vms" / name, content, good.path)
        resumed, providers = Resumed(), Providers({}, None)
        runner = AttemptRunner(
            "alpha", "http://nowhere", Sources(), state, providers, cast("ReportSender", None), lambda _: None
        )

        Adoption(runner, cast("Assignments", resumed), room_for(state, 2)).run()

        assert Hold(order_id=good.manifest.order_id, epoch=1) in resumed.holds
        assert read(good.path) == good
        assert len(resumed.holds) == len(set(resumed.holds))
        assert Hold(order_id=good.manifest.order_id, epoch=1) in holds_in(state)


def write_at(path: Path, content: object, good: Path) -> None:
    match content:
        case "link":
            path.symlink_to(good)
        case "nowhere":
            path.symlink_to(path.with_name("nothing"))
        case bytes():
            path.write_bytes(content)
        case dict():
            path.mkdir()
            for name, data in content.items():
                (path / name).write_bytes(data)


def test_a_directory_half_written_or_half_removed_is_removed(launcher: InProcessLauncher) -> None:
    for name in (".one-1.partial", ".two-1.removed"):
        (launcher.state / "vms" / name).mkdir(parents=True)

    adopt(launcher)

    assert not list((launcher.state / "vms").iterdir())
    assert not launcher.server.seen


def test_adopted_machines_count_although_there_are_more_than_would_be_admitted(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = [leave() for _ in range(3)]

    adopt(launcher)

    assert len(launcher.assignments.held()) == len(left)
    assert launcher.room() == 0
    assert launcher.admission.reserve(TASKS) is None


@pytest.mark.parametrize(
    ("state", "status"),
    [(State.CLAIMED, "returned"), (State.PROVISIONING, "returned"), (State.RUNNING, "machine_gone")],
)
def test_an_order_of_which_nothing_is_left_here_is_given_up(
    launcher: InProcessLauncher, state: State, status: str
) -> None:
    launcher.server.holds = [HoldView(order_id="forgotten", epoch=3, state=state)]

    a_reconciliation(launcher).run(launcher.admission.closed)

    (report,) = launcher.server.bodies(UPDATES)
    assert (report["status"], report["epoch"]) == (status, 3)
    assert launcher.server.bodies(HOLDS) == [{"launcher": "alpha"}, {"launcher": "alpha"}]  # its own, then the name's


def test_an_order_that_is_held_is_not_given_up(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    launcher.server.holds = [HoldView(order_id=assignment.hold.order_id, epoch=1, state=State.RUNNING)]

    a_reconciliation(launcher).run(launcher.admission.closed)

    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]


@pytest.mark.parametrize("refused", [HOLDS, UPDATES])
def test_what_is_held_is_asked_for_until_it_is_answered(launcher: InProcessLauncher, refused: str) -> None:
    paused: list[float] = []

    def pause(seconds: float, interrupt: threading.Event) -> None:
        paused.append(seconds)
        if len(paused) == 2:
            launcher.server.serve(refused)

    launcher.server.refuse(refused, 503)
    launcher.server.holds = [HoldView(order_id="forgotten", epoch=3, state=State.CLAIMED)]

    a_reconciliation(launcher, pause).run(launcher.admission.closed)

    assert paused == [1, 2]
    assert launcher.server.statuses("forgotten")[-1] == "returned"


def test_only_what_is_here_is_renewed_at_the_start_and_a_namesakes_orders_are_only_logged(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = a_directory(launcher.state)
    here = HoldView(order_id=vm.manifest.order_id, epoch=1, state=State.PROVISIONING)
    foreign = HoldView(order_id="foreign", epoch=1, state=State.RUNNING)
    monkeypatch.setattr(
        launcher.client,
        "holds",
        lambda _name, namesakes=False: HoldsView(holds=(here, foreign) if namesakes else (here,)),
    )
    reconciliation = a_reconciliation(launcher)

    renewed = reconciliation.renew(holds_in(launcher.state), Mode.DAEMON)
    with structlog.testing.capture_logs() as logs:
        reconciliation.run(launcher.admission.closed)

    assert list(renewed) == [Hold(order_id=vm.manifest.order_id, epoch=1)]
    (beat,) = launcher.server.bodies(HEARTBEATS)
    assert beat["holds"] == [{"order_id": vm.manifest.order_id, "epoch": 1}]
    assert not launcher.server.statuses("foreign")
    (logged,) = [line for line in logs if line["event"] == LogEvent.NAME_SHARED]
    assert logged["orders"] == [{"order_id": "foreign", "epoch": 1}]


def test_a_daemon_that_goes_down_waits_for_no_answer(launcher: InProcessLauncher) -> None:
    launcher.server.refuse(HOLDS, 503)

    a_reconciliation(launcher, lambda _seconds, interrupt: interrupt.set()).run(launcher.admission.closed)

    assert len(launcher.server.bodies(HOLDS)) == 1


def test_a_lease_is_on_the_disk_before_the_machine_starts_and_after_each_renewal(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    path = directory.location(launcher.state, assignment.hold.order_id, 1)
    assert read(path).lease() == assignment.lease

    assignment.renew(SYSTEM.monotonic(), 600)

    assert read(path).lease() == assignment.lease
    assert assignment.lease.seconds == 600


def test_a_lease_that_cannot_be_written_stops_nothing(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: VmDirectory, _lease: VmLease) -> None:
        raise OSError(28, "No space left on device")

    assignment = launcher.begin()
    monkeypatch.setattr(VmDirectory, "record_lease", full)

    assignment.renew(SYSTEM.monotonic(), 600)

    assert assignment.lease_left() > 400
    assert assignment.stop_reason is None


def a_daemon(launcher: InProcessLauncher, assignments: Assignments) -> Daemon:
    """A daemon that takes no orders, and leaves at once what it holds when it is told to go."""
    admission = room_for(launcher.state, 2)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", assignments, 0.05, launcher.outage, SYSTEM)
    adoption = Adoption(launcher.runner, assignments, admission) if assignments is not launcher.assignments else None
    return Daemon(
        adopt=adoption.run if adoption else lambda: None,
        admission=admission,
        assignments=assignments,
        intake=lambda: None,
        heartbeat=heartbeat,
        drain_seconds=0,
    )


def a_reconciliation(
    launcher: InProcessLauncher, pause: Callable[[float, threading.Event], None] = SYSTEM.pause
) -> Reconciliation:
    clock = Clock(SYSTEM.monotonic, lambda: 0.0, pause)
    return Reconciliation(launcher.client, "alpha", launcher.assignments, launcher.outage, clock)


def assert_quarantined(launcher: InProcessLauncher, vm: VmDirectory, logs: list[dict[str, object]]) -> None:
    assert not vm.path.exists()
    assert (launcher.state / "quarantine" / vm.path.name).is_dir()
    assert not launcher.assignments.held()
    assert not launcher.server.bodies(UPDATES)
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert "to_do" in line


def first_line(log: Path) -> str:
    """Look until a machine has written a line, and return it."""
    deadline = time.monotonic() + DEADLINE
    while not (line := log.read_text()).endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return line


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_machine_of_a_provider_that_is_not_enabled_any_more_is_kept_aside_and_not_taken_for_gone(
    launcher: InProcessLauncher,
) -> None:
    manifest = a_manifest(argv=()).model_copy(update={"argv": (), "provider": "gcp"})
    vm = directory.create(launcher.state, manifest, b"{}", VmLease(ends=0, seconds=60))

    logs = adopt(launcher)

    assert (launcher.state / "quarantine" / vm.path.name).exists()
    assert any("gcp is not enabled" in str(line.get("why")) for line in logs)
    assert not launcher.server.bodies(UPDATES)


def test_the_watch_of_a_machine_that_had_been_left_to_itself_ends_it_once_its_new_lease_is_not_renewed(
    launcher: InProcessLauncher, leave: Callable[..., Left], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, next_look = threading.Event(), Assignment._next_look

    def looked(assignment: Assignment) -> float:
        watched.set()
        return next_look(assignment)

    left = leave()
    left.directory.record_lease(VmLease(ends=0, seconds=0.6, never_expires=True))
    monkeypatch.setattr(Assignment, "_next_look", looked)

    adopt(launcher)
    (assignment,) = launcher.assignments.held()
    assert watched.wait(DEADLINE)  # while the lease has no end
    assert left.process.is_running()
    assignment.renew(SYSTEM.monotonic(), 0.6)

    assert assignment.interrupted.wait(DEADLINE)
    assert assignment.stop_reason is StopReason.LEASE_LOST
    launcher.assignments.await_end()
    assert left.reaped() < 0
