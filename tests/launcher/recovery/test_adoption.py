"""A daemon adopts the machines that an earlier one left running, and reports those that ended."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import psutil

from launcher.daemon.daemon import Events
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.machines.records import VmProcess
from launcher.machines.start_times import started_at
from launcher.orders.assignment import StopReason
from launcher.orders.assignments import Assignments
from shared.wire.launchers import StopOrder
from tests.launcher.conftest import InProcessLauncher, room_for
from tests.launcher.fake_control_plane import DEADLINE, HEARTBEATS, UPDATES
from tests.launcher.recovery.left import (
    PARENT,
    Left,
    a_daemon,
    a_directory,
    adopt,
    assert_quarantined,
    first_line,
    is_running,
)
from tests.launcher.stand_ins import TASKS


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


def test_a_machine_that_ended_while_nothing_watched_it_reaches_an_older_control_plane_as_a_failed_attempt(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = leave()
    left.directory.record_lease(left.directory.lease().model_copy(update={"never_expires": True}))
    left.process.kill()
    left.reaped()
    launcher.server.knows_machine_gone = False

    adopt(launcher)
    launcher.assignments.await_end()

    assert launcher.server.statuses(left.order_id) == ["machine_gone", "failed"]
    assert launcher.server.bodies(UPDATES)[-1]["reason"] == "machine_exited"
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


def test_processes_of_an_adopted_machine_are_ended_with_it(
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


def test_a_machine_that_was_never_started_uses_no_attempt(launcher: InProcessLauncher) -> None:
    vm = a_directory(launcher.state)

    adopt(launcher)
    launcher.assignments.await_end()

    assert launcher.server.statuses(vm.manifest.order_id) == ["returned"]
    assert not vm.path.exists()


def test_a_process_with_the_ended_machines_pid_is_left_alone_and_the_machine_counts_as_ended(
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


def test_adopted_machines_count_although_there_are_more_than_would_be_admitted(
    launcher: InProcessLauncher, leave: Callable[..., Left]
) -> None:
    left = [leave() for _ in range(3)]

    adopt(launcher)

    assert len(launcher.assignments.held()) == len(left)
    assert launcher.room() == 0
    assert launcher.admission.reserve(TASKS) is None
