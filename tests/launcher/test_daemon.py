"""The daemon as a process of its own, `python -m launcher run`: its start, its end, and that it leaves nothing."""

import json
import signal
import threading
from pathlib import Path
from typing import Final

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from launcher.daemon.daemon import Daemon, Events
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from shared.domain.order import State
from shared.log_events import LogEvent
from shared.wire.launchers import HoldView, StopOrder
from tests.later_answers import with_more_fields
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.daemons import KEY, Start, await_logged, machines, named
from tests.launcher.fake_control_plane import CLAIMS, DEADLINE, HEARTBEATS, HOLDS, UPDATES, FakeControlPlane
from tests.launcher.stand_ins import is_running

UNDER_WAY: Final = 0.3
"""Seconds that a claim takes to be answered while the launcher goes down."""


def test_a_signal_that_does_not_interrupt_the_main_threads_wait_is_received_nevertheless() -> None:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    events = Events()
    events.receive_signals()
    elsewhere = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    threading.Timer(0.2, elsewhere.start).start()  # the wait has begun by then, or the signal is received before it
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
