"""The daemon as a process of its own, `python -m launcher run`: its start, its end, and that it leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from unittest.mock import Mock

import psutil
import pytest

from emulators.processes import LOOPBACK, free_port
from launcher.daemon.daemon import Daemon, Event, Events, Occurrence, ShutdownLimits
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.machines.directory import PROCESS
from launcher.machines.records import VmProcess
from launcher.orders import leftovers
from launcher.orders.assignments import Assignments
from shared.domain.order import State
from shared.log_events import LogEvent
from shared.wire.launchers import HoldView, StopOrder
from tests.later_answers import with_more_fields
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import CALLBACKS, CLAIMS, DEADLINE, HEARTBEATS, HOLDS, UPDATES, FakeControlPlane
from tests.launcher.stand_ins import fill, is_running

Start = Callable[..., "subprocess.Popen[str]"]

IMPATIENT: Final = ShutdownLimits(leave=0.1, stop=0.1, last=0.1)
ROOT: Final = Path(__file__).parents[2]
UNDER_WAY: Final = 0.3
"""Seconds that a claim takes to be answered while the launcher goes down."""
KEY: Final = "ly_a_key_that_no_log_shows"

WORKER: Final = """
import argparse, json, pathlib, subprocess, sys, time, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("--config", type=pathlib.Path, required=True)
config = json.loads(parser.parse_args().config.read_bytes())
print("the worker is up", flush=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
address = config["control_plane"] + "/v1/callbacks/" + config["order_id"]
urllib.request.urlopen(urllib.request.Request(address, b"{}", {"Content-Type": "application/json"}))
time.sleep(600)
"""
"""A worker that calls back and stays, with a child that stays, too."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start daemons in a folder where `worker` is the stand-in above."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__main__.py").write_text(WORKER)
    with ExitStack() as daemons:
        daemons.callback(leftovers.clear, tmp_path / "state")
        yield lambda url, log=subprocess.PIPE, **settings: daemons.enter_context(a_daemon(tmp_path, url, settings, log))


def test_a_signal_that_does_not_interrupt_the_main_threads_wait_is_heard_nevertheless() -> None:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    events = Events()
    events.hear_signals()
    elsewhere = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    threading.Timer(0.2, elsewhere.start).start()  # the wait has begun by then, or the signal is heard before it
    try:
        assert events.get(DEADLINE) is signal.SIGTERM
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def test_sigterm_drains_no_order_is_taken_any_more_and_those_held_are_renewed_until_they_end(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    order_id = server.offer()
    daemon = start(server.url, HEARTBEAT_SECONDS="0.1")
    family = machines(server, tmp_path, [order_id])

    daemon.send_signal(signal.SIGTERM)
    await_logged(daemon, LogEvent.SHUTDOWN_STARTED)
    server.offer()
    claims, beats = len(server.bodies(CLAIMS)), len(server.bodies(HEARTBEATS))
    server.wait_for(lambda: len(server.bodies(HEARTBEATS)) >= beats + 3)
    assert all(is_running(process) for process in family)
    server.stops = [StopOrder(order_id=order_id, epoch=1, why="finished")]
    daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 0
    assert len(server.bodies(CLAIMS)) <= claims + 1  # one may have been under way
    assert not any(is_running(process) for process in family)
    assert not list((tmp_path / "state" / "vms").iterdir())


def test_at_the_end_of_the_drain_machines_are_left_running_and_named_in_the_log(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    order_id = server.offer()
    daemon = start(server.url, DRAIN_SECONDS="0")
    family = machines(server, tmp_path, [order_id])

    daemon.send_signal(signal.SIGTERM)
    output, _ = daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 0
    assert all(is_running(process) for process in family)
    lines = [json.loads(line) for line in output.splitlines()]
    left = [line["order_id"] for line in lines if line["event"] == LogEvent.MACHINE_LEFT_RUNNING]
    assert left == [order_id]
    assert server.statuses(order_id) == ["provisioning"]


def test_a_second_signal_returns_every_order_and_leaves_no_process(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    order_ids = [server.offer(), server.offer()]
    daemon = start(server.url)
    family = machines(server, tmp_path, order_ids)

    daemon.send_signal(signal.SIGTERM)
    await_logged(daemon, LogEvent.SHUTDOWN_STARTED)
    daemon.send_signal(signal.SIGTERM)
    output, _ = daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 0, output
    assert [server.statuses(order_id) for order_id in order_ids] == [["provisioning", "returned"]] * 2
    assert not any(is_running(process) for process in family)
    assert not list((tmp_path / "state" / "vms").iterdir())
    assert "the worker is up" in (tmp_path / "state" / "logs" / f"{order_ids[0]}-1.log").read_text()


def test_a_third_signal_ends_the_daemon_although_its_reports_are_not_answered(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    order_ids = [server.offer()]
    daemon = start(server.url)
    family = machines(server, tmp_path, order_ids)
    server.refuse(UPDATES, 503)

    daemon.send_signal(signal.SIGTERM)
    await_logged(daemon, LogEvent.SHUTDOWN_STARTED)
    daemon.send_signal(signal.SIGTERM)
    server.wait_for(lambda: "returned" in server.statuses(order_ids[0]))
    daemon.send_signal(signal.SIGINT)
    daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 0
    assert not any(is_running(process) for process in family)


def test_the_daemon_sends_heartbeats_and_logs_json_without_secrets(server: FakeControlPlane, start: Start) -> None:
    server.offer()
    daemon = start(server.url, HEARTBEAT_SECONDS="0.1", DRAIN_SECONDS="0")
    server.wait_for(lambda: len(server.bodies(HEARTBEATS)) >= 2)

    daemon.send_signal(signal.SIGTERM)
    output, _ = daemon.communicate(timeout=DEADLINE)

    lines = [json.loads(line) for line in output.splitlines()]
    assert all({"severity", "event", "message", "timestamp"} <= set(line) for line in lines)
    assert KEY not in output
    assert "token-of-a-callback" not in output


def test_a_launcher_without_a_control_plane_keeps_trying_and_ends_on_sigterm(
    start: Start,
) -> None:
    daemon = start(f"http://{LOOPBACK}:{free_port()}")
    line = await_logged(daemon, LogEvent.SERVER_UNAVAILABLE)

    daemon.send_signal(signal.SIGTERM)
    daemon.communicate(timeout=DEADLINE)

    assert line["severity"] == "WARNING"
    assert daemon.returncode == 0


def test_a_launcher_that_was_killed_leaves_machines_that_its_successor_adopts_renews_and_ends(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    order_id = server.offer()
    killed = start(server.url)
    family = machines(server, tmp_path, [order_id])
    killed.kill()
    killed.communicate(timeout=DEADLINE)
    beats = len(server.bodies(HEARTBEATS))

    start(server.url, HEARTBEAT_SECONDS="0.1")
    server.wait_for(lambda: named(server, order_id, beats))
    assert all(is_running(process) for process in family)
    server.stops = [StopOrder(order_id=order_id, epoch=1, why="cancelled")]
    server.wait_for(lambda: server.statuses(order_id) == ["provisioning", "stopped"])

    assert not any(is_running(process) for process in family)


def test_orders_without_a_record_here_are_given_up_before_the_first_claim(
    server: FakeControlPlane, start: Start
) -> None:
    server.holds = [HoldView(order_id="forgotten", epoch=2, state=State.CLAIMED)]
    server.offer()

    start(server.url)
    server.wait_for(lambda: bool(server.bodies(CLAIMS)))

    paths = [seen.path for seen in server.seen]
    assert server.statuses("forgotten") == ["returned"]
    assert paths.index(HOLDS) < paths.index(f"{UPDATES}/forgotten") < paths.index(CLAIMS)


def test_an_order_that_a_claim_under_way_still_brings_is_returned_before_the_daemon_is_gone(
    launcher: InProcessLauncher,
) -> None:
    over_early: list[bool] = []
    over_seen, claimed, room = threading.Event(), launcher.server.a_claimed(), launcher.reserve()

    class Watching(HeartbeatLoop):
        def run(self, over: threading.Event) -> None:
            over.wait(DEADLINE)
            over_seen.set()

    def intake() -> None:
        launcher.admission.closed.wait(DEADLINE)
        over_early.append(over_seen.wait(UNDER_WAY))
        launcher.assignments.begin(claimed, room, SYSTEM.monotonic())

    heartbeat = Watching(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)
    events = Events()
    events.put(signal.SIGTERM)

    assert (
        Daemon(lambda: None, launcher.admission, launcher.assignments, intake, heartbeat, drain_seconds=60).run(events)
        == 0
    )
    assert over_early == [False]
    assert launcher.server.statuses(claimed.order_id) == ["returned"]


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
        monkeypatch.setattr("launcher.orders.assignments.log", Mock(info=fails))
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


def test_a_machine_runs_on_under_a_control_plane_of_a_later_version_and_is_stopped_when_that_says_so(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    server.later = with_more_fields
    order_id = server.offer()
    start(server.url, HEARTBEAT_SECONDS="0.1")
    family = machines(server, tmp_path, [order_id])
    since = len(server.bodies(HEARTBEATS))
    server.wait_for(lambda: named(server, order_id, since + 3))
    assert all(is_running(one) for one in family)

    server.stops = [StopOrder(order_id=order_id, epoch=1, why="cancelled")]
    server.wait_for(lambda: server.statuses(order_id)[-1] == "stopped")


def test_answered_claims_do_not_end_an_outage_of_heartbeats(server: FakeControlPlane, start: Start) -> None:
    server.refuse(HEARTBEATS, 503)
    daemon = start(server.url)
    server.wait_for(lambda: bool(server.bodies(HEARTBEATS)))
    since = len(server.bodies(CLAIMS))
    server.wait_for(lambda: len(server.bodies(CLAIMS)) > since + 2)
    daemon.terminate()
    output, _ = daemon.communicate(timeout=DEADLINE)

    assert '"requests": "heartbeats"' in output
    assert "serves this launcher again" not in output


def test_two_launchers_cannot_share_a_state_directory(server: FakeControlPlane, start: Start) -> None:
    start(server.url)
    server.wait_for(lambda: bool(server.bodies(CLAIMS)))

    second = start(server.url)
    output, _ = second.communicate(timeout=DEADLINE)

    assert second.returncode == 1  # not 2: it may be free later, and systemd tries again
    assert "is in use by another launcher" in output


@contextmanager
def a_daemon(
    folder: Path, url: str, settings: dict[str, str], log: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LAUNCHYARD_LAUNCHER_KEY": KEY,
        "LAUNCHYARD_DATACENTER": "local:dev",
        **{f"LAUNCHYARD_{name}": value for name, value in settings.items()},
    }
    flags = ("--url", url, "--provider", "process", "--state-dir", str(folder / "state"))
    with subprocess.Popen(
        (sys.executable, "-m", "launcher", "run", *flags),
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    ) as daemon:
        yield daemon
        if daemon.poll() is None:
            daemon.kill()
            daemon.communicate(timeout=DEADLINE)


def machines(server: FakeControlPlane, folder: Path, order_ids: list[str]) -> list[psutil.Process]:
    """Return the machines' processes and their children, once every worker has called back."""
    server.wait_for(lambda: all(server.bodies(f"{CALLBACKS}/{order_id}") for order_id in order_ids))
    family = []
    for order_id in order_ids:
        recorded = folder / "state" / "vms" / f"{order_id}-1" / PROCESS
        leader = psutil.Process(VmProcess.model_validate_json(recorded.read_bytes()).pid)
        family += [leader, *leader.children(recursive=True)]
    assert len(family) == 2 * len(order_ids)
    return family


def await_event(event: threading.Event) -> None:
    event.wait()


def named(server: FakeControlPlane, order_id: str, since: int) -> bool:
    """Return whether a heartbeat since then renewed the order."""
    return any(hold["order_id"] == order_id for body in server.bodies(HEARTBEATS)[since:] for hold in body["holds"])


def await_logged(daemon: subprocess.Popen[str], event: LogEvent) -> dict[str, object]:
    """Wait until the daemon logs the event, and return that line."""
    assert daemon.stdout is not None
    lines: Iterator[dict[str, object]] = map(json.loads, daemon.stdout)
    return next(line for line in lines if line["event"] == event)
