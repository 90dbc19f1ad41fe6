"""The daemon as a process of its own, `python -m launcher run`: its start, its end, and what it leaves: nothing."""

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
from launcher.daemon.daemon import FAILED, Daemon, Events
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.machines.directory import PROCESS
from launcher.machines.records import VmProcess
from launcher.orders import leftovers
from launcher.orders.assignments import Runs
from shared.domain.order import State
from shared.wire.launchers import HoldView, StopOrder
from tests.later_answers import with_more_fields
from tests.launcher.conftest import Pieces
from tests.launcher.fake_control_plane import CALLBACKS, CLAIMS, DEADLINE, HEARTBEATS, HOLDS, UPDATES, FakeControlPlane
from tests.launcher.stand_ins import fill, lives

Start = Callable[..., "subprocess.Popen[str]"]

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


def test_a_signal_that_does_not_interrupt_the_main_threads_wait_is_heard_all_the_same() -> None:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    events = Events()
    events.hear_signals()
    elsewhere = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    threading.Timer(0.2, elsewhere.start).start()  # the wait has begun by then, or the signal is heard before it
    try:
        assert events.get(DEADLINE) == "SIGTERM"
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
    said(daemon, "going down")
    server.offer()
    claims, beats = len(server.bodies(CLAIMS)), len(server.bodies(HEARTBEATS))
    server.wait_for(lambda: len(server.bodies(HEARTBEATS)) >= beats + 3)
    assert all(lives(process) for process in family)
    server.stops = [StopOrder(order_id=order_id, epoch=1, why="finished")]
    daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 0
    assert len(server.bodies(CLAIMS)) <= claims + 1  # one may have been under way
    assert not any(lives(process) for process in family)
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
    assert all(lives(process) for process in family)
    lines = [json.loads(line) for line in output.splitlines()]
    left = [line["order_id"] for line in lines if line["message"].startswith("machine left running")]
    assert left == [order_id]
    assert server.statuses(order_id) == ["provisioning"]


def test_a_second_signal_returns_every_order_and_leaves_no_process(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    order_ids = [server.offer(), server.offer()]
    daemon = start(server.url)
    family = machines(server, tmp_path, order_ids)

    daemon.send_signal(signal.SIGTERM)
    said(daemon, "going down")
    daemon.send_signal(signal.SIGTERM)
    output, _ = daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 0, output
    assert [server.statuses(order_id) for order_id in order_ids] == [["provisioning", "returned"]] * 2
    assert not any(lives(process) for process in family)
    assert not list((tmp_path / "state" / "vms").iterdir())
    assert "the worker is up" in (tmp_path / "state" / "logs" / f"{order_ids[0]}-1.log").read_text()


def test_a_third_signal_ends_the_daemon_although_nobody_answers_its_reports(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    order_ids = [server.offer()]
    daemon = start(server.url)
    family = machines(server, tmp_path, order_ids)
    server.refuse(UPDATES, 503)

    daemon.send_signal(signal.SIGTERM)
    said(daemon, "going down")
    daemon.send_signal(signal.SIGTERM)
    server.wait_for(lambda: "returned" in server.statuses(order_ids[0]))
    daemon.send_signal(signal.SIGINT)
    daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 0
    assert not any(lives(process) for process in family)


def test_the_daemon_sends_heartbeats_and_logs_json_without_secrets(server: FakeControlPlane, start: Start) -> None:
    server.offer()
    daemon = start(server.url, HEARTBEAT_SECONDS="0.1", DRAIN_SECONDS="0")
    server.wait_for(lambda: len(server.bodies(HEARTBEATS)) >= 2)

    daemon.send_signal(signal.SIGTERM)
    output, _ = daemon.communicate(timeout=DEADLINE)

    lines = [json.loads(line) for line in output.splitlines()]
    assert all({"severity", "message", "timestamp"} <= set(line) for line in lines)
    assert KEY not in output
    assert "token-of-a-callback" not in output


def test_a_launcher_without_a_control_plane_keeps_trying_and_goes_when_told(
    start: Start,
) -> None:
    daemon = start(f"http://{LOOPBACK}:{free_port()}")
    assert daemon.stdout is not None
    said = next(line for line in daemon.stdout if "does not serve this launcher" in line)

    daemon.send_signal(signal.SIGTERM)
    daemon.communicate(timeout=DEADLINE)

    assert json.loads(said)["severity"] == "WARNING"
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
    assert all(lives(process) for process in family)
    server.stops = [StopOrder(order_id=order_id, epoch=1, why="cancelled")]
    server.wait_for(lambda: server.statuses(order_id) == ["provisioning", "stopped"])

    assert not any(lives(process) for process in family)


def test_what_the_control_plane_believes_held_is_given_up_before_the_first_order_is_taken(
    server: FakeControlPlane, start: Start
) -> None:
    server.holds = [HoldView(order_id="forgotten", epoch=2, state=State.CLAIMED)]
    server.offer()

    start(server.url)
    server.wait_for(lambda: bool(server.bodies(CLAIMS)))

    paths = [seen.path for seen in server.seen]
    assert server.statuses("forgotten") == ["returned"]
    assert paths.index(HOLDS) < paths.index(f"{UPDATES}/forgotten") < paths.index(CLAIMS)


def test_an_order_that_a_claim_under_way_still_brings_is_returned_before_the_daemon_is_gone(pieces: Pieces) -> None:
    over_early: list[bool] = []
    over_seen, claimed, room = threading.Event(), pieces.server.a_claimed(), pieces.reserve()

    class Watching(HeartbeatLoop):
        def run(self, over: threading.Event) -> None:
            over.wait(DEADLINE)
            over_seen.set()

    def intake() -> None:
        pieces.admission.closed.wait(DEADLINE)
        over_early.append(over_seen.wait(UNDER_WAY))
        pieces.runs.begin(claimed, room, SYSTEM.monotonic())

    heartbeat = Watching(pieces.client, "alpha", pieces.runs, 20, pieces.outage, SYSTEM)
    events = Events()
    events.put("SIGTERM")

    assert Daemon(lambda: None, pieces.admission, pieces.runs, intake, heartbeat, drain_seconds=60).run(events) == 0
    assert over_early == [False]
    assert pieces.server.statuses(claimed.order_id) == ["returned"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("when", ["at once", "while it drains", "after another"])
def test_a_loop_that_fails_leaves_the_machines_to_the_next_daemon_and_is_told_by_the_exit_code(
    pieces: Pieces, when: str
) -> None:
    held, events = pieces.begin(), Events()
    machine = pieces.provider.process(held.hold.order_id)

    def intake() -> None:
        if when == "while it drains":
            pieces.admission.closed.wait(DEADLINE)
        raise RuntimeError("nobody thought of this")

    if when != "at once":
        events.put("SIGTERM" if when == "while it drains" else FAILED)
    heartbeat = HeartbeatLoop(pieces.client, "alpha", pieces.runs, 20, pieces.outage, SYSTEM)
    daemon = Daemon(lambda: None, pieces.admission, pieces.runs, intake, heartbeat, drain_seconds=60)

    assert daemon.run(events) == 1
    assert pieces.server.statuses(held.hold.order_id) == ["provisioning"]
    assert lives(machine)
    leftovers.clear(pieces.state)


@pytest.mark.parametrize("lacking", ["heartbeat", "close"])
def test_a_daemon_that_cannot_start_a_thread_leaves_its_machines_to_the_next(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    held, events, start = pieces.begin(), Events(), threading.Thread.start
    machine = pieces.provider.process(held.hold.order_id)

    def start_but_one(thread: threading.Thread) -> None:
        if thread.name == lacking:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_but_one)
    heartbeat = HeartbeatLoop(pieces.client, "alpha", pieces.runs, 20, pieces.outage, SYSTEM)
    daemon = Daemon(lambda: None, pieces.admission, pieces.runs, lambda: None, heartbeat, drain_seconds=60)
    events.put("SIGTERM")

    with pytest.raises(RuntimeError):
        daemon.run(events)

    assert pieces.runs.held() == ()
    assert lives(machine)
    leftovers.clear(pieces.state)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_order_that_no_thread_can_be_started_for_neither_stays_held_nor_keeps_the_daemon(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, room, start = pieces.server.a_claimed(), pieces.reserve(), threading.Thread.start

    def start_but_no_run(thread: threading.Thread) -> None:
        if thread.name.startswith("run-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_but_no_run)
    heartbeat = HeartbeatLoop(pieces.client, "alpha", pieces.runs, 20, pieces.outage, SYSTEM)
    intake = partial(pieces.runs.begin, claimed, room, SYSTEM.monotonic())
    daemon = Daemon(lambda: None, pieces.admission, pieces.runs, intake, heartbeat, drain_seconds=60)
    codes: list[int] = []
    running = threading.Thread(target=lambda: codes.append(daemon.run(Events())), daemon=True)
    running.start()
    running.join(DEADLINE)

    assert codes == [1]
    assert pieces.runs.held() == ()


@pytest.mark.parametrize("trouble", ["its reader has gone", "its reader is behind", "its disk is full"])
def test_a_log_that_cannot_be_written_costs_no_order_and_the_daemon_goes_when_told(
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
    assert all(lives(process) for process in family)
    os.close(writer)


@pytest.mark.parametrize("lacking", ["log", "say", "thread"])
def test_an_order_whose_run_does_not_begin_is_forgotten_and_its_room_is_free(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("nobody thought of this")

    runs = Runs(pieces.runner.run, pieces.admission, SYSTEM, fails if lacking == "say" else lambda _line: None)
    if lacking == "log":
        monkeypatch.setattr("launcher.orders.assignments.log", Mock(info=fails))
    if lacking == "thread":
        monkeypatch.setattr(threading.Thread, "start", fails)

    with pytest.raises(OSError, match="nobody thought"):
        runs.begin(pieces.server.a_claimed(), pieces.reserve(), SYSTEM.monotonic())

    assert runs.held() == ()
    assert pieces.room() == 2


@pytest.mark.parametrize("told", [("SIGTERM",), ("SIGTERM", "SIGINT"), ("SIGTERM", "SIGINT", "SIGTERM"), (FAILED,)])
def test_a_daemon_that_is_told_to_go_goes_although_an_order_never_ends(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch, told: tuple[str, ...]
) -> None:
    for bound in ("LEAVE_SECONDS", "STOP_SECONDS", "LAST_SECONDS"):
        monkeypatch.setattr(f"launcher.daemon.daemon.{bound}", 0.1)
    stuck, events = threading.Event(), Events()
    runs = Runs(lambda _held, _claimed: await_event(stuck), pieces.admission, SYSTEM)
    runs.begin(pieces.server.a_claimed(), pieces.reserve(), SYSTEM.monotonic())
    heartbeat = HeartbeatLoop(pieces.client, "alpha", runs, 20, pieces.outage, SYSTEM)
    daemon = Daemon(lambda: None, pieces.admission, runs, lambda: None, heartbeat, drain_seconds=0.1)
    for event in told:
        events.put(event)
    codes: list[int] = []

    going = threading.Thread(target=lambda: codes.append(daemon.run(events)), daemon=True)
    going.start()
    going.join(DEADLINE)

    assert codes == [1]
    stuck.set()
    runs.await_end()


def test_a_daemon_that_fails_itself_goes_although_an_order_never_ends(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr("launcher.daemon.daemon.LEAVE_SECONDS", 0.1)
    stuck, failures = threading.Event(), list[Exception]()
    runs = Runs(lambda _held, _claimed: await_event(stuck), pieces.admission, SYSTEM)
    runs.begin(pieces.server.a_claimed(), pieces.reserve(), SYSTEM.monotonic())
    heartbeat = HeartbeatLoop(pieces.client, "alpha", runs, 20, pieces.outage, SYSTEM)
    daemon = Daemon(fail, pieces.admission, runs, lambda: None, heartbeat, drain_seconds=0.1)

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
    runs.await_end()


def test_a_machine_runs_on_under_a_control_plane_of_a_later_version_and_is_stopped_when_that_says_so(
    server: FakeControlPlane, start: Start, tmp_path: Path
) -> None:
    server.later = with_more_fields
    order_id = server.offer()
    start(server.url, HEARTBEAT_SECONDS="0.1")
    family = machines(server, tmp_path, [order_id])
    since = len(server.bodies(HEARTBEATS))
    server.wait_for(lambda: named(server, order_id, since + 3))
    assert all(lives(one) for one in family)

    server.stops = [StopOrder(order_id=order_id, epoch=1, why="cancelled")]
    server.wait_for(lambda: server.statuses(order_id)[-1] == "stopped")


def test_that_claims_are_answered_does_not_say_that_heartbeats_are(server: FakeControlPlane, start: Start) -> None:
    server.refuse(HEARTBEATS, 503)
    daemon = start(server.url)
    server.wait_for(lambda: bool(server.bodies(HEARTBEATS)))
    since = len(server.bodies(CLAIMS))
    server.wait_for(lambda: len(server.bodies(CLAIMS)) > since + 2)
    daemon.terminate()
    output, _ = daemon.communicate(timeout=DEADLINE)

    assert '"asked": "heartbeats"' in output
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


def said(daemon: subprocess.Popen[str], message: str) -> None:
    """Wait until the daemon's log says it."""
    assert daemon.stdout is not None
    assert any(message in line for line in daemon.stdout)
