"""One attempt at an order: its machine, what it leaves, and its reports."""

import contextlib
import dataclasses
import stat
import threading
from collections.abc import Callable
from datetime import timedelta

import psutil
import pytest
import structlog.testing

from launcher.host.clock import SYSTEM, Clock
from launcher.machines.directory import CONFIG, VmDirectory
from launcher.machines.port import MachinePlan
from launcher.orders.assignment import SAFETY_MARGIN, Assignment, StopReason
from launcher.orders.assignments import Shutdown
from launcher.orders.reports import ReportSender
from launcher.providers.process.supervise import ProcessMachine
from launcher.providers.registry import Providers
from shared.domain.order import State
from shared.domain.spec import AnySpec
from shared.guest.config import Executor, WorkerConfig
from shared.log_events import LogEvent
from shared.wire.launchers import Hold
from tests.factories import SESSION, TASK
from tests.launcher.conftest import InProcessLauncher, an_assignment
from tests.launcher.fake_control_plane import UPDATES
from tests.launcher.stand_ins import ENDS, ManualClock, Processes


def test_the_directory_is_whole_before_the_machine_starts(launcher: InProcessLauncher) -> None:
    found: list[VmDirectory] = []

    class Looking(Processes):
        def start(self, directory: VmDirectory) -> ProcessMachine:
            found.append(directory)
            assert WorkerConfig.model_validate_json(directory.config.read_bytes()).control_plane == launcher.server.url
            assert stat.S_IMODE(directory.config.stat().st_mode) == 0o600
            assert directory.process() is None
            return super().start(directory)

    assignment = launcher.assignment()
    launcher.run(assignment, Looking(ENDS))

    (directory,) = found
    assert directory.path == launcher.state / "vms" / f"{assignment.hold.order_id}-1"
    (provisioning, _) = launcher.server.bodies(UPDATES)
    assert provisioning["vm"] == directory.manifest.vm


def test_a_machine_that_ends_by_itself_is_reported_as_gone_with_its_exit_code(
    launcher: InProcessLauncher,
) -> None:
    assignment = launcher.assignment()

    launcher.run(assignment, Processes(ENDS))

    report = launcher.server.bodies(UPDATES)[-1]
    assert (report["status"], report["exit_code"]) == ("machine_gone", 3)
    assert "exit code 3" in report["message"]


def test_the_end_of_a_machine_whose_order_has_succeeded_is_accepted(launcher: InProcessLauncher) -> None:
    assignment = launcher.assignment()

    def succeed(_path: str) -> None:
        if launcher.server.statuses(assignment.hold.order_id) == ["provisioning", "machine_gone"]:
            launcher.server.states[assignment.hold.order_id] = State.SUCCEEDED

    launcher.server.before = succeed
    with structlog.testing.capture_logs() as logs:
        launcher.run(assignment, Processes(ENDS))

    assert launcher.server.states == {assignment.hold.order_id: State.SUCCEEDED}
    assert [line["status"] for line in logs if line["event"] == LogEvent.REPORT_ACCEPTED] == [
        "provisioning",
        "machine_gone",
    ]
    assert not [line for line in logs if line["event"] == LogEvent.REPORT_REFUSED]


@pytest.mark.parametrize(("spec", "named"), [(SESSION, True), (TASK, False)])
def test_only_the_worker_of_a_session_is_given_the_executor(
    launcher: InProcessLauncher, spec: AnySpec, named: bool
) -> None:
    given: list[WorkerConfig] = []

    class Recording(Processes):
        def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> MachinePlan:
            given.append(config)
            return super().plan(hold, uuid, config)

    executor, provider = Executor(command=("an-executor",)), Recording(ENDS)
    providers = Providers({}, provider, sessions=provider)
    runner = dataclasses.replace(launcher.runner, providers=providers, executor=executor)
    claimed = launcher.server.a_claimed().model_copy(update={"spec": spec})

    with contextlib.closing(an_assignment(claimed)) as assignment:
        runner.run(assignment, claimed)

    assert [config.executor for config in given] == [executor if named else None]


def test_the_end_of_a_machine_reaches_an_older_control_plane_as_a_failed_attempt(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    launcher.server.knows_machine_gone = False
    launcher.server.states[assignment.hold.order_id] = State.RUNNING

    with structlog.testing.capture_logs() as logs:
        the_process(launcher, assignment).kill()
        launcher.assignments.await_end()

    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning", "machine_gone", "failed"]
    (_, gone, failed) = launcher.server.bodies(UPDATES)
    assert (failed["reason"], failed["failure"]) == ("machine_exited", "retryable")
    assert (failed["epoch"], failed["message"]) == (gone["epoch"], gone["message"])
    assert failed["request_id"] != gone["request_id"]
    assert [line["status"] for line in logs if line["event"] == LogEvent.REPORT_ACCEPTED] == ["failed"]
    assert not [line for line in logs if line["event"] == LogEvent.REPORT_REFUSED]
    assert launcher.room() == 2


def test_an_older_control_plane_that_refuses_the_failed_attempt_of_an_ended_order_too_is_logged(
    launcher: InProcessLauncher,
) -> None:
    assignment = launcher.begin()
    launcher.server.knows_machine_gone = False
    launcher.server.states[assignment.hold.order_id] = State.SUCCEEDED

    with structlog.testing.capture_logs() as logs:
        the_process(launcher, assignment).kill()
        launcher.assignments.await_end()

    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning", "machine_gone", "failed"]
    (refused,) = [line for line in logs if line["event"] == LogEvent.REPORT_REFUSED]
    assert (refused["status"], refused["code"]) == ("failed", "wrong_state")
    assert launcher.room() == 2


def test_only_a_refusal_as_invalid_turns_the_end_of_a_machine_into_a_failed_attempt(
    launcher: InProcessLauncher,
) -> None:
    assignment = launcher.begin()
    launcher.server.refuse(UPDATES, 409, "lease_lost")

    the_process(launcher, assignment).kill()
    launcher.assignments.await_end()

    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning", "machine_gone"]


def test_a_failed_attempt_that_an_older_control_plane_does_not_answer_is_repeated_as_the_same_request(
    launcher: InProcessLauncher,
) -> None:
    assignment = launcher.assignment()
    paused: list[float] = []

    def fail_twice(_path: str) -> None:
        if launcher.server.statuses(assignment.hold.order_id)[-1] == "failed" and len(paused) < 2:
            launcher.server.refuse(UPDATES, 503)

    def pause(seconds: float, _interrupt: threading.Event) -> None:
        paused.append(seconds)
        launcher.server.serve(UPDATES)

    launcher.server.knows_machine_gone = False
    launcher.server.before = fail_twice
    repeating = dataclasses.replace(
        launcher, runner=dataclasses.replace(launcher.runner, reports=reports(launcher, pause))
    )
    repeating.run(assignment, Processes(ENDS))

    failed = [body for body in launcher.server.bodies(UPDATES) if body["status"] == "failed"]
    assert paused == [1, 2]
    assert len(failed) == 3
    assert all(body == failed[0] for body in failed)


@pytest.mark.parametrize(
    ("program", "last"),
    [
        ("print('first'); print('the last words'); print(' ')", "the last words"),
        ("print('x' * 9000)", "x" * 300),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)) + b'end')", "end"),
        ("pass", ""),
    ],
)
def test_of_a_machine_that_ends_by_itself_the_log_says_where_its_serial_log_is_and_its_last_line(
    launcher: InProcessLauncher, program: str, last: str
) -> None:
    assignment = launcher.assignment()

    with structlog.testing.capture_logs() as logs:
        launcher.run(assignment, Processes((ENDS[0], "-c", program)))

    (gone,) = [line for line in logs if line["event"] == LogEvent.MACHINE_GONE]
    assert gone["serial_log"] == str(launcher.state / "logs" / f"{assignment.hold.order_id}-1.log")
    assert gone["last_line"].endswith(last)
    assert gone["last_line"].isprintable()
    assert len(gone["last_line"]) <= 300
    assert gone["order_id"] == assignment.hold.order_id


def test_of_a_machine_that_is_gone_only_its_serial_log_remains(launcher: InProcessLauncher) -> None:
    assignment = launcher.assignment()
    speaks = (ENDS[0], "-c", "print('the last words')")

    launcher.run(assignment, Processes(speaks))

    assert not list((launcher.state / "vms").iterdir())
    assert (launcher.state / "logs" / f"{assignment.hold.order_id}-1.log").read_text() == "the last words\n"


def test_an_order_that_is_final_already_needs_no_report_and_the_slot_is_freed(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    launcher.server.refuse(UPDATES, 409, "wrong_state")

    assignment.stop(StopReason.CANCELLED)
    launcher.assignments.await_end()

    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning", "stopped"]
    assert launcher.room() == 2


def test_an_order_whose_lease_was_lost_before_the_start_gets_no_machine(launcher: InProcessLauncher) -> None:
    assignment = launcher.assignment()
    launcher.server.refuse(UPDATES, 409, "lease_lost")

    launcher.run(assignment)

    assert launcher.provider.started == 0
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]
    assert not list((launcher.state / "vms").iterdir())


def test_a_lost_lease_destroys_the_machine_and_nothing_more_is_reported(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    process = the_process(launcher, assignment)

    assignment.stop(StopReason.LEASE_LOST)
    launcher.assignments.await_end()

    assert not process.is_running()
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]


def test_a_lease_that_is_not_renewed_ends_the_machine_before_it_ends_itself(launcher: InProcessLauncher) -> None:
    launcher.server.lease = timedelta(seconds=24)  # of which the last 4 are there for a busy machine, too
    assignment = launcher.begin()
    process = the_process(launcher, assignment)

    launcher.assignments.await_end()

    assert not process.is_running()
    assert assignment.leased()
    assert 0 < assignment.lease.ends - SYSTEM.monotonic() <= assignment.lease.seconds * SAFETY_MARGIN
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]


def test_a_machine_is_not_started_if_too_little_of_the_lease_is_left(launcher: InProcessLauncher) -> None:
    assignment = launcher.assignment()
    assignment.renew(SYSTEM.monotonic() - 50, 60)

    launcher.run(assignment)

    assert launcher.provider.started == 0
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_lease_does_not_depend_on_the_time_of_day(launcher: InProcessLauncher, ahead: timedelta) -> None:
    launcher.server.ahead = ahead

    left = launcher.assignment().lease_left()

    assert 0 < left <= launcher.server.lease.total_seconds() * (1 - SAFETY_MARGIN)


def test_an_order_that_is_cancelled_before_the_start_gets_no_machine(launcher: InProcessLauncher) -> None:
    assignment = launcher.assignment()
    assignment.stop(StopReason.CANCELLED)

    launcher.run(assignment)

    assert launcher.provider.started == 0
    assert launcher.server.statuses(assignment.hold.order_id) == ["stopped"]


def test_an_order_that_a_launcher_gets_while_going_down_is_returned_and_nothing_is_made_for_it(
    launcher: InProcessLauncher,
) -> None:
    claimed, room = launcher.server.a_claimed(), launcher.reserve()
    launcher.assignments.shutdown(Shutdown.RETURN)

    launcher.assignments.begin(claimed, room, SYSTEM.monotonic())
    launcher.assignments.await_end()

    assert launcher.server.statuses(claimed.order_id) == ["returned"]
    assert not (launcher.state / "vms").exists()


def test_an_order_that_is_cancelled_while_it_is_reported_gets_no_machine(launcher: InProcessLauncher) -> None:
    class CancelledMeanwhile(Processes):
        def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> MachinePlan:
            assignment.stop(StopReason.CANCELLED)
            return super().plan(hold, uuid, config)

    assignment, provider = launcher.assignment(), CancelledMeanwhile()

    launcher.run(assignment, provider)

    assert provider.started == 0
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning", "stopped"]


def test_stopped_is_reported_only_once_the_machine_is_gone(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    process = the_process(launcher, assignment)
    process.suspend()  # it does not react to SIGTERM
    assignment.stop(StopReason.CANCELLED)
    assignment.hurry()

    launcher.server.wait_for(lambda: "stopped" in launcher.server.statuses(assignment.hold.order_id))

    assert not process.is_running()


def test_a_report_is_repeated_as_the_same_request_until_it_is_answered(launcher: InProcessLauncher) -> None:
    assignment, paused = launcher.assignment(), []

    def pause(seconds: float, interrupt: threading.Event) -> None:
        paused.append(seconds)
        if len(paused) == 3:
            launcher.server.serve(UPDATES)

    launcher.server.refuse(UPDATES, 503)
    repeating = dataclasses.replace(
        launcher, runner=dataclasses.replace(launcher.runner, reports=reports(launcher, pause))
    )
    repeating.run(assignment, Processes(ENDS))

    provisioning = [body for body in launcher.server.bodies(UPDATES) if body["status"] == "provisioning"]
    assert paused == [1, 2, 4]
    assert len(provisioning) == 4
    assert all(body == provisioning[0] for body in provisioning)


def test_a_report_that_is_not_answered_is_given_up_when_the_lease_is_over(launcher: InProcessLauncher) -> None:
    clock = ManualClock(most=99).clock()
    claimed = launcher.server.a_claimed().model_copy(update={"lease_seconds": 60.0})
    launcher.server.refuse(UPDATES, 503)

    with structlog.testing.capture_logs():
        runner = dataclasses.replace(launcher.runner, reports=ReportSender(launcher.client, clock))
        assignment = an_assignment(claimed, clock)
        runner.run(assignment, claimed)
        assignment.close()

    assert launcher.provider.started == 0
    assert len(launcher.server.bodies(UPDATES)) == 7  # at 0, 1, 3, 7, 15, 31 and 61 s


def the_process(launcher: InProcessLauncher, assignment: Assignment) -> psutil.Process:
    return launcher.provider.process(assignment.hold.order_id)


def reports(launcher: InProcessLauncher, pause: Callable[[float, threading.Event], None]) -> ReportSender:
    clock = Clock(SYSTEM.monotonic, lambda: 0.0, pause)
    return ReportSender(launcher.client, clock)


@pytest.mark.parametrize(("gateway", "proxy"), [("10.0.2.2", "http://10.0.2.2:3128"), (None, None)])
def test_a_machines_configuration_has_its_providers_gateway_and_proxy(
    launcher: InProcessLauncher, gateway: str | None, proxy: str | None
) -> None:
    launcher.provider.loopback_gateway, launcher.provider.proxy = gateway, proxy
    assignment = launcher.begin()

    [document] = launcher.state.glob(f"vms/{assignment.hold.order_id}-*/{CONFIG}")
    config = WorkerConfig.model_validate_json(document.read_bytes())

    assert (config.loopback_gateway, config.proxy) == (gateway, proxy)
