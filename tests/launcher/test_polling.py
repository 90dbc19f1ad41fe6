"""The polling loop: what a launcher without Pub/Sub requests, and how it waits."""

import threading

import pytest
import structlog.testing

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from launcher.daemon.poll import PollingLoop
from launcher.host.clock import SYSTEM, Clock
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission, Room
from launcher.orders.assignment import Assignment, StopReason
from launcher.orders.assignments import Assignments, Shutdown
from launcher.orders.claims import OrderClaimer
from launcher.orders.lanes import Lane, Lanes
from launcher.orders.outage import Outage
from shared.client import ControlPlane
from shared.domain.spec import CapacitySpec, NodeSize
from shared.log_events import LogEvent
from shared.wire.launchers import Claimed
from tests.launcher.conftest import InProcessLauncher
from tests.launcher.fake_control_plane import CLAIMS, DEADLINE
from tests.launcher.stand_ins import ManualClock


def test_orders_are_claimed_one_at_a_time_while_there_is_room(launcher: InProcessLauncher) -> None:
    offered = {launcher.server.offer() for _ in range(3)}
    loop = PollingLoop(launcher.claims, launcher.assignments, launcher.admission, launcher.outage, SYSTEM)
    thread = threading.Thread(target=loop.run)
    thread.start()
    launcher.server.wait_for(lambda: provisioned(launcher) == 2)
    claims_while_full = len(launcher.server.bodies(CLAIMS))

    launcher.assignments.held()[0].stop(StopReason.FINISHED)
    launcher.server.wait_for(lambda: provisioned(launcher) == 3)
    launcher.admission.close()
    thread.join()

    assert claims_while_full == 2
    assert {body["wait_seconds"] for body in launcher.server.bodies(CLAIMS)} == {5}
    assert {seen.path.rsplit("/", 1)[-1] for seen in launcher.server.seen if "/updates/" in seen.path} == offered


def test_an_unreachable_control_plane_is_tried_ever_less_often_and_logged_once_a_minute(
    launcher: InProcessLauncher,
) -> None:
    clock = ManualClock(most=8)
    with (
        ControlPlane(f"http://{LOOPBACK}:{free_port()}", "ly_key") as unreachable,
        structlog.testing.capture_logs() as logs,
    ):
        claims = OrderClaimer(unreachable, "alpha", launcher.claims.lanes)
        outage = Outage(clock.clock().monotonic)
        PollingLoop(claims, launcher.assignments, launcher.admission, outage, clock.clock()).run()

    assert clock.pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [line["failed_tries"] for line in logs if line["log_level"] == "warning"] == [1, 7]


def test_a_launcher_that_has_used_up_a_quota_claims_again_when_it_is_asked_to(launcher: InProcessLauncher) -> None:
    clock = ManualClock(most=3)
    launcher.server.refuse(CLAIMS, 429, "quota_exceeded", {"Retry-After": "7"})

    with structlog.testing.capture_logs() as logs:
        PollingLoop(launcher.claims, launcher.assignments, launcher.admission, launcher.outage, clock.clock()).run()

    assert clock.pauses == [7, 7, 7]
    assert [line["error"] for line in logs if line["event"] == LogEvent.SERVER_UNAVAILABLE] == [
        "Refused: quota_exceeded."
    ]
    assert launcher.room() == 2


def test_a_claim_without_an_answer_is_repeated_as_the_same_request_and_an_answered_one_is_not(
    launcher: InProcessLauncher,
) -> None:
    clock = ManualClock(most=2)
    launcher.server.refuse(CLAIMS, 503)
    PollingLoop(launcher.claims, launcher.assignments, launcher.admission, launcher.outage, clock.clock()).run()
    launcher.server.serve(CLAIMS)

    launcher.claims.next(["any/task"])
    launcher.claims.next(["any/task"])

    ids = [body["request_id"] for body in launcher.server.bodies(CLAIMS)]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_the_lease_of_a_claimed_order_is_counted_from_before_it_was_asked_for(launcher: InProcessLauncher) -> None:
    passed, ends = [0.0], list[float]()
    clock = Clock(lambda: passed[0], lambda: 0.0, lambda _seconds, interrupt: interrupt.set())

    def take_five_seconds(_path: str) -> None:
        passed[0] += 5

    def note(assignment: Assignment, _claimed: Claimed) -> None:
        ends.append(assignment.lease.ends)

    launcher.server.before = take_five_seconds
    launcher.server.offer()
    assignments = Assignments(note, launcher.admission, clock)

    PollingLoop(launcher.claims, assignments, launcher.admission, launcher.outage, clock).run()
    assignments.await_end()

    assert ends == [launcher.server.lease.total_seconds()]


def test_nothing_is_claimed_once_the_launcher_shuts_down(
    launcher: InProcessLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = launcher.admission.reserve_when_free

    def then_closed(lanes: Lanes) -> Room | None:
        slot = reserve(lanes)
        launcher.admission.close()
        return slot

    monkeypatch.setattr(launcher.admission, "reserve_when_free", then_closed)

    PollingLoop(launcher.claims, launcher.assignments, launcher.admission, launcher.outage, SYSTEM).run()

    assert not launcher.server.bodies(CLAIMS)
    assert launcher.room() == 2


def test_only_orders_with_room_are_claimed_and_each_keeps_only_its_need(
    launcher: InProcessLauncher,
) -> None:
    tiny = Lane("x:y/capacity/tiny", "processes", Resources(machines=1, memory_mib=100))
    llm = Lane("x:y/capacity/llm", "processes", Resources(machines=1, memory_mib=800))
    admission = Admission(launcher.state, Resources(machines=9, memory_mib=1000), lambda: 0, SYSTEM.monotonic)
    assignments = Assignments(stay, admission, SYSTEM)
    claims = OrderClaimer(launcher.client, "alpha", Lanes((tiny, llm)))
    polling = PollingLoop(claims, assignments, admission, launcher.outage, SYSTEM)
    for size in (NodeSize.TINY, NodeSize.LLM, NodeSize.TINY):
        launcher.server.offer(CapacitySpec(datacenter="x:y", node_size=size))

    polling.run(limit=3)

    asked = [body["lanes"] for body in launcher.server.bodies(CLAIMS)]
    assert asked == [[tiny.name, llm.name], [tiny.name, llm.name], [tiny.name]]
    assert admission.room(tiny) == 0
    assignments.shutdown(Shutdown.RETURN)
    assignments.await_end()
    assert admission.room(llm) == 1


def stay(assignment: Assignment, _claimed: Claimed) -> None:
    """Run an order until it must stop."""
    assignment.interrupted.wait(DEADLINE)


def provisioned(launcher: InProcessLauncher) -> int:
    return sum(seen.body.get("status") == "provisioning" for seen in launcher.server.seen)
