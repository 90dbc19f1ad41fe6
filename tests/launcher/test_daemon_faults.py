"""The daemon when its host fails it: threads that do not start, a log that cannot be written, orders that never end."""

import os
import signal
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher.daemon.daemon import Daemon, Event, Events, Occurrence
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.orders import leftovers
from launcher.orders.assignments import Assignments
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.daemons import IMPATIENT, Start, await_event, machines, named
from tests.launcher.fake_control_plane import CLAIMS, DEADLINE, HEARTBEATS, FakeControlPlane
from tests.launcher.stand_ins import fill, is_running


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("when", ["at once", "while it drains", "after another"])
def test_a_loop_that_fails_leaves_the_machines_to_the_next_daemon_and_sets_the_exit_code(
    launcher: InProcessLauncher, when: str
) -> None:
    assignment, events = launcher.begin(), Events()
    machine = launcher.provider.process(assignment.hold.order_id)

    def intake() -> None:
        if when == "while it drains":
            launcher.admission.closed.wait(DEADLINE)
        raise RuntimeError("unforeseen")

    if when != "at once":
        events.put(signal.SIGTERM if when == "while it drains" else Occurrence.LOOP_FAILED)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)
    daemon = Daemon(lambda: None, launcher.admission, launcher.assignments, intake, heartbeat, drain_seconds=60)

    assert daemon.run(events) == 1
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]
    assert is_running(machine)
    leftovers.clear(launcher.state)


@pytest.mark.parametrize("lacking", ["heartbeat", "end"])
def test_a_daemon_that_cannot_start_a_thread_leaves_its_machines_to_the_next(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    assignment, events, start = launcher.begin(), Events(), threading.Thread.start
    machine = launcher.provider.process(assignment.hold.order_id)

    def start_but_one(thread: threading.Thread) -> None:
        if thread.name == lacking:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_but_one)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)
    daemon = Daemon(lambda: None, launcher.admission, launcher.assignments, lambda: None, heartbeat, drain_seconds=60)
    events.put(signal.SIGTERM)

    with pytest.raises(RuntimeError):
        daemon.run(events)

    assert launcher.assignments.held() == ()
    assert is_running(machine)
    leftovers.clear(launcher.state)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_order_that_no_thread_can_be_started_for_neither_stays_held_nor_keeps_the_daemon(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, room, start = launcher.server.a_claimed(), launcher.reserve(), threading.Thread.start

    def start_but_no_run(thread: threading.Thread) -> None:
        if thread.name.startswith("order-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_but_no_run)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)
    intake = partial(launcher.assignments.begin, claimed, room, SYSTEM.monotonic())
    daemon = Daemon(lambda: None, launcher.admission, launcher.assignments, intake, heartbeat, drain_seconds=60)
    codes: list[int] = []
    running = threading.Thread(target=lambda: codes.append(daemon.run(Events())), daemon=True)
    running.start()
    running.join(DEADLINE)

    assert codes == [1]
    assert launcher.assignments.held() == ()


@pytest.mark.parametrize("trouble", ["its reader has gone", "its reader is behind", "its disk is full"])
def test_a_log_that_cannot_be_written_costs_no_order_and_the_daemon_ends_on_sigterm(
    server: FakeControlPlane, tmp_path: Path, start: Start, trouble: str
) -> None:
    reader, writer = os.pipe()
    log = os.open("/dev/full", os.O_WRONLY) if trouble == "its disk is full" else writer
    daemon = start(server.url, log=log, HEARTBEAT_SECONDS="0.1", DRAIN_SECONDS="0.1")
    server.wait_for(lambda: bool(server.bodies(CLAIMS)))
    if trouble == "its reader has gone":
        os.close(reader)
    if trouble == "its reader is behind":
        fill(writer)

    order_id = server.offer()
    family = machines(server, tmp_path, [order_id])
    beats = len(server.bodies(HEARTBEATS))
    server.wait_for(lambda: named(server, order_id, beats + 3))
    daemon.send_signal(signal.SIGTERM)

    assert daemon.wait(DEADLINE) == 0
    assert server.statuses(order_id) == ["provisioning"]
    assert all(is_running(process) for process in family)
    os.close(writer)


@pytest.mark.parametrize("lacking", ["log", "announce", "thread"])
def test_an_order_whose_thread_does_not_start_is_forgotten_and_frees_its_room(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("unforeseen")

    assignments = Assignments(
        launcher.runner.run, launcher.admission, SYSTEM, fails if lacking == "announce" else lambda _line: None
    )
    if lacking == "log":
        monkeypatch.setattr("launcher.orders.assignments.log", SimpleNamespace(info=fails))
    if lacking == "thread":
        monkeypatch.setattr(threading.Thread, "start", fails)

    with pytest.raises(OSError, match="unforeseen"):
        assignments.begin(launcher.server.a_claimed(), launcher.reserve(), SYSTEM.monotonic())

    assert assignments.held() == ()
    assert launcher.room() == 2


@pytest.mark.parametrize(
    "received",
    [
        (signal.SIGTERM,),
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT, signal.SIGTERM),
        (Occurrence.LOOP_FAILED,),
    ],
)
def test_a_daemon_that_gets_a_signal_ends_although_an_order_never_does(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch, received: tuple[Event, ...]
) -> None:
    stuck, events = threading.Event(), Events()
    assignments = Assignments(lambda _held, _claimed: await_event(stuck), launcher.admission, SYSTEM)
    assignments.begin(launcher.server.a_claimed(), launcher.reserve(), SYSTEM.monotonic())
    heartbeat = HeartbeatLoop(launcher.client, "alpha", assignments, 20, launcher.outage, SYSTEM)
    daemon = Daemon(lambda: None, launcher.admission, assignments, lambda: None, heartbeat, 0.1, limits=IMPATIENT)
    for event in received:
        events.put(event)
    codes: list[int] = []

    going = threading.Thread(target=lambda: codes.append(daemon.run(events)), daemon=True)
    going.start()
    going.join(DEADLINE)

    assert codes == [1]
    stuck.set()
    assignments.await_end()


def test_a_daemon_that_fails_itself_ends_although_an_order_never_does(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise LookupError("unforeseen")

    stuck, failures = threading.Event(), list[Exception]()
    assignments = Assignments(lambda _held, _claimed: await_event(stuck), launcher.admission, SYSTEM)
    assignments.begin(launcher.server.a_claimed(), launcher.reserve(), SYSTEM.monotonic())
    heartbeat = HeartbeatLoop(launcher.client, "alpha", assignments, 20, launcher.outage, SYSTEM)
    daemon = Daemon(fail, launcher.admission, assignments, lambda: None, heartbeat, 0.1, limits=IMPATIENT)

    def go() -> None:
        try:
            daemon.run(Events())
        except LookupError as error:
            failures.append(error)

    going = threading.Thread(target=go, daemon=True)
    going.start()
    going.join(DEADLINE)

    assert len(failures) == 1
    stuck.set()
    assignments.await_end()
