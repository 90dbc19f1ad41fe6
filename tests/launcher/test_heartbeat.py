"""The heartbeat's loop: one request for everything, and what happens if it is not answered."""

import threading
from datetime import timedelta

import pytest
import structlog.testing

from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM, Clock
from launcher.orders.assignment import Assignment
from launcher.orders.assignments import Assignments, Shutdown
from launcher.orders.outage import Outage
from shared.log_events import LogEvent
from shared.wire.launchers import Claimed, StopOrder
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import DEADLINE, HEARTBEATS
from tests.launcher.stand_ins import ManualClock


def a_heartbeat(launcher: InProcessLauncher) -> HeartbeatLoop:
    return HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, launcher.outage, SYSTEM)


def test_one_request_renews_every_lease(launcher: InProcessLauncher) -> None:
    assignment = [launcher.begin(), launcher.begin()]
    launcher.server.lease = timedelta(minutes=10)

    assert a_heartbeat(launcher).beat() == 20

    (body,) = launcher.server.bodies(HEARTBEATS)
    assert body["launcher"] == "alpha"
    assert [hold["order_id"] for hold in body["holds"]] == [one.hold.order_id for one in assignment]
    assert all(one.lease_left() > 490 for one in assignment)


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (401, "unauthenticated")])
def test_a_launcher_that_holds_nothing_finds_out_that_it_is_not_served(
    launcher: InProcessLauncher, status: int, code: str
) -> None:
    launcher.server.refuse(HEARTBEATS, status, code)

    with structlog.testing.capture_logs() as logs:
        assert a_heartbeat(launcher).beat() < 20

    assert [line["event"] for line in logs] == [LogEvent.SERVER_UNAVAILABLE]
    assert [body["holds"] for body in launcher.server.bodies(HEARTBEATS)] == [[]]


def test_a_machine_whose_order_is_cancelled_is_stopped_and_then_reported(launcher: InProcessLauncher) -> None:
    assignment, kept = launcher.begin(), launcher.begin()
    launcher.server.stops = [StopOrder(order_id=assignment.hold.order_id, epoch=1, why="cancelled")]

    a_heartbeat(launcher).beat()

    launcher.server.wait_for(lambda: launcher.server.statuses(assignment.hold.order_id) == ["provisioning", "stopped"])
    launcher.await_room(1)
    assert launcher.assignments.held() == (kept,)


@pytest.mark.parametrize("why", ["finished", "lease_lost"])
def test_a_machine_whose_order_has_ended_or_is_lost_is_stopped_and_nothing_is_reported(
    launcher: InProcessLauncher, why: str
) -> None:
    assignment = launcher.begin()
    launcher.server.stops = [StopOrder.model_validate({"order_id": assignment.hold.order_id, "epoch": 1, "why": why})]

    a_heartbeat(launcher).beat()

    launcher.assignments.await_end()
    assert launcher.server.statuses(assignment.hold.order_id) == ["provisioning"]


def test_a_renewed_lease_is_counted_from_before_it_was_asked_for(launcher: InProcessLauncher) -> None:
    passed = [1000.0]
    clock = Clock(lambda: passed[0], lambda: 0.0, SYSTEM.pause)
    assignments = Assignments(wait_for_an_interruption, launcher.admission, clock)
    assignments.begin(launcher.server.a_claimed(), launcher.reserve(), asked_at=0)
    (assignment,) = assignments.held()

    def take_half_a_minute(_path: str) -> None:
        passed[0] += 30

    launcher.server.before = take_half_a_minute

    HeartbeatLoop(launcher.client, "alpha", assignments, 20, launcher.outage, clock).beat()

    assert assignment.lease.ends == 1000 + launcher.server.lease.total_seconds()
    assignments.shutdown(Shutdown.RETURN)
    assignments.await_end()


def wait_for_an_interruption(assignment: Assignment, _claimed: Claimed) -> None:
    assignment.interrupted.wait(DEADLINE)


def test_a_short_lease_is_renewed_when_a_third_of_it_is_over(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    assignment.renew(SYSTEM.monotonic(), 45)
    launcher.server.lease = timedelta(seconds=45)

    assert a_heartbeat(launcher).beat() == 15


def test_an_order_with_a_short_lease_that_comes_between_two_heartbeats_is_renewed_in_time(
    launcher: InProcessLauncher,
) -> None:
    launcher.server.lease = timedelta(seconds=15)
    passed, over, waiting = [1000.0], threading.Event(), threading.Event()

    def pause(seconds: float, interrupt: threading.Event) -> None:
        """Let the time pass at once, but for the minute until the next heartbeat without an order."""
        waiting.set()
        if seconds > 15:
            interrupt.wait(DEADLINE)
        else:
            passed[0] += seconds

    clock = Clock(lambda: passed[0], lambda: 0.0, pause)
    assignments = Assignments(wait_for_an_interruption, launcher.admission, clock)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", assignments, 60, launcher.outage, clock)
    beating = threading.Thread(target=heartbeat.run, args=(over,), daemon=True)
    beating.start()
    try:
        assert waiting.wait(DEADLINE)  # for the next, which is due in a minute

        assignments.begin(launcher.server.a_claimed(), launcher.reserve(), asked_at=1000)
        (assignment,) = assignments.held()
        launcher.server.wait_for(lambda: renewals(launcher) >= 2)

        assert assignment.stop_reason is None
        assert assignment.lease.ends > 1000 + 15
    finally:
        over.set()
        assignments.changed.set()
        beating.join()
        assignments.shutdown(Shutdown.RETURN)
        assignments.await_end()


def test_an_order_that_the_answer_leaves_out_keeps_its_lease(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    lease = assignment.lease
    launcher.server.left_out = {assignment.hold.order_id}

    a_heartbeat(launcher).beat()

    assert (assignment.lease, assignment.stop_reason) == (lease, None)


def test_a_stop_of_another_epoch_stops_nothing(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    launcher.server.stops = [StopOrder(order_id=assignment.hold.order_id, epoch=2, why="cancelled")]

    a_heartbeat(launcher).beat()

    assert assignment.stop_reason is None


def test_a_heartbeat_that_is_not_answered_is_repeated_and_logged_once_a_minute(launcher: InProcessLauncher) -> None:
    launcher.begin()
    launcher.server.refuse(HEARTBEATS, 503)
    over = threading.Event()
    clock = ManualClock(most=9, over=over)
    outage = Outage(clock.clock().monotonic)

    with structlog.testing.capture_logs() as logs:
        HeartbeatLoop(launcher.client, "alpha", launcher.assignments, 20, outage, clock.clock()).run(over)

    assert clock.pauses == [1, 2, 4, 8, 16, 20, 20, 20, 20]
    assert [line["failed_tries"] for line in logs if line["log_level"] == "warning"] == [1, 8]


def test_the_end_of_an_outage_is_logged(launcher: InProcessLauncher) -> None:
    launcher.begin()
    heartbeat = a_heartbeat(launcher)
    launcher.server.refuse(HEARTBEATS, 503)
    heartbeat.beat()
    launcher.server.serve(HEARTBEATS)

    with structlog.testing.capture_logs() as logs:
        heartbeat.beat()

    assert [line["event"] for line in logs] == [LogEvent.SERVER_AVAILABLE]


def renewals(launcher: InProcessLauncher) -> int:
    """Return how many heartbeats named an order."""
    return sum(bool(body["holds"]) for body in launcher.server.bodies(HEARTBEATS))
