"""The doorbell's loop: its answer to each bell, and how many it pulls at once."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import pytest
import structlog.testing

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from launcher.daemon.bell import FOREIGN_DELAY, DoorbellLoop
from launcher.daemon.bells import BellsUnavailable, DeliveredBell
from launcher.host.clock import SYSTEM, Clock
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission
from launcher.orders.assignment import StopReason
from launcher.orders.assignments import Assignments, Shutdown
from launcher.orders.claims import OrderClaimer
from launcher.orders.lanes import Lane, Lanes
from launcher.orders.outage import Outage
from shared.client import ControlPlane
from shared.domain.spec import CapacitySpec, NodeSize
from shared.log_events import LogEvent
from shared.wire.bell import Bell
from shared.wire.launchers import Claimed
from tests.launcher.conftest import InProcessLauncher, room_for
from tests.launcher.fake_control_plane import CLAIMS
from tests.launcher.stand_ins import ManualClock
from tests.memory_doorbell import MemoryDoorbell

TASK_LANE: Final = "any/task"
LANES: Final = {TASK_LANE: 10, "local:*/capacity/tiny": 145}
"""Each with what its machines take of this host, in MiB."""


class Recording(MemoryDoorbell):
    """A doorbell that notes how many bells were asked for, and what became of each."""

    def __init__(self) -> None:
        super().__init__(patience=0.05)
        self.asked: list[int] = []
        self.acknowledged: list[str] = []
        self.given_back: list[tuple[str, float]] = []

    def pull(self, most: int) -> Sequence[DeliveredBell]:
        delivered = super().pull(most)
        if delivered:
            self.asked.append(most)
        return delivered

    def acknowledge(self, delivered: DeliveredBell) -> None:
        super().acknowledge(delivered)
        self.acknowledged.append(delivered.bell.order_id)

    def give_back(self, delivered: DeliveredBell, after: timedelta) -> None:
        super().give_back(delivered, after)
        self.given_back.append((delivered.bell.order_id, after.total_seconds()))


def a_loop(launcher: InProcessLauncher, doorbell: MemoryDoorbell, clock: Clock = SYSTEM) -> DoorbellLoop:
    return DoorbellLoop(doorbell, launcher.claims, launcher.assignments, launcher.admission, launcher.outage, clock)


def one_turn(launcher: InProcessLauncher, doorbell: MemoryDoorbell, claims: OrderClaimer | None = None) -> None:
    """Pull bells once, and answer them."""
    clock, chosen = ManualClock(most=1), claims or launcher.claims
    closing = Closing(launcher.admission)
    DoorbellLoop(doorbell, chosen, launcher.assignments, closing, launcher.outage, clock.clock()).run()  # type: ignore[arg-type]


class Closing:
    """The slots of a launcher that shuts down after its first turn, and could still run that turn's order."""

    def __init__(self, admission: Admission) -> None:
        self.closed = threading.Event()
        self.reserve, self.free = admission.reserve, admission.free
        self._admission = admission

    def await_room(self, lanes: Lanes) -> int:
        return 0 if self.closed.is_set() else self._admission.await_room(lanes)


@contextmanager
def running(loop: DoorbellLoop, launcher: InProcessLauncher) -> Iterator[None]:
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield
    launcher.admission.close()
    thread.join()


def test_a_bell_is_acknowledged_once_its_order_is_claimed_and_its_machine_runs_on(launcher: InProcessLauncher) -> None:
    doorbell, order_id = Recording(), launcher.server.offer()
    doorbell.ring(Bell(order_id, TASK_LANE))

    one_turn(launcher, doorbell)

    assert doorbell.acknowledged == [order_id]
    launcher.server.wait_for(lambda: launcher.server.statuses(order_id) == ["provisioning"])
    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [order_id]


def test_a_bell_of_an_order_that_another_took_is_acknowledged(launcher: InProcessLauncher) -> None:
    doorbell, order_id = Recording(), launcher.server.offer()
    OrderClaimer(launcher.client, "beta", launcher.claims.lanes).by_id(order_id)
    doorbell.ring(Bell(order_id, TASK_LANE))

    one_turn(launcher, doorbell)

    assert doorbell.acknowledged == [order_id]
    assert both_slots_are_free(launcher)


def test_a_bell_that_brings_another_order_is_acknowledged_and_that_order_runs(launcher: InProcessLauncher) -> None:
    class Behind(OrderClaimer):
        def by_id(self, order_id: str) -> Claimed | None:
            return super().by_id(in_turn)

    doorbell, order_id, in_turn = Recording(), launcher.server.offer(), launcher.server.offer()
    doorbell.ring(Bell(order_id, TASK_LANE))

    one_turn(launcher, doorbell, Behind(launcher.client, "alpha", launcher.claims.lanes))

    assert doorbell.acknowledged == [order_id]
    launcher.server.wait_for(lambda: launcher.server.statuses(in_turn) == ["provisioning"])
    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [in_turn]


def test_a_bell_of_an_order_that_is_gone_is_acknowledged(launcher: InProcessLauncher) -> None:
    doorbell = Recording()
    doorbell.ring(Bell("gone", TASK_LANE))

    one_turn(launcher, doorbell)

    assert doorbell.acknowledged == ["gone"]
    assert both_slots_are_free(launcher)


def test_a_bell_of_another_lane_is_given_back_for_later_and_nothing_is_claimed(launcher: InProcessLauncher) -> None:
    doorbell, order_id = Recording(), launcher.server.offer()
    doorbell.ring(Bell(order_id, "rack:7/capacity/tiny"))

    one_turn(launcher, doorbell)

    assert doorbell.given_back == [(order_id, 10)]
    assert not launcher.server.bodies(CLAIMS)


def test_a_bell_delivered_while_going_down_is_given_back_at_once(launcher: InProcessLauncher) -> None:
    class ClosesDuringPull(Recording):
        def pull(self, most: int) -> Sequence[DeliveredBell]:
            delivered = super().pull(most)
            launcher.admission.close()
            return delivered

    doorbell, order_id = ClosesDuringPull(), launcher.server.offer()
    doorbell.ring(Bell(order_id, TASK_LANE))

    a_loop(launcher, doorbell).run()

    assert doorbell.given_back == [(order_id, 0)]
    assert not launcher.server.bodies(CLAIMS)


def test_a_bell_without_room_is_given_back_for_a_while_and_others_are_pulled(
    launcher: InProcessLauncher,
) -> None:
    tasks, tiny = (Lane(name, "processes", Resources(machines=1, memory_mib=mib)) for name, mib in LANES.items())
    admission = Admission(launcher.state, Resources(machines=9, memory_mib=150), lambda: 0, SYSTEM.monotonic)
    claims = OrderClaimer(launcher.client, "alpha", Lanes((tasks, tiny)))
    doorbell, assignments = Recording(), Assignments(launcher.runner.run, admission, SYSTEM)
    assert admission.reserve(tasks) is not None
    order_ids = [launcher.server.offer(CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY))]
    order_ids.append(launcher.server.offer())
    doorbell.ring(Bell(order_ids[0], "local:dev/capacity/tiny"))
    doorbell.ring(Bell(order_ids[1], TASK_LANE))
    closing = Closing(admission)

    clock = ManualClock(most=1).clock()
    DoorbellLoop(doorbell, claims, assignments, closing, launcher.outage, clock).run()  # type: ignore[arg-type]

    assert doorbell.given_back == [(order_ids[0], 5)]
    assert doorbell.acknowledged == [order_ids[1]]
    assignments.shutdown(Shutdown.RETURN)
    assignments.await_end()


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (401, "unauthenticated"), (403, "forbidden")])
def test_bells_are_given_back_and_the_slot_freed_if_claims_are_not_served(
    launcher: InProcessLauncher, status: int, code: str
) -> None:
    doorbell = Recording()
    order_ids = [launcher.server.offer(), launcher.server.offer()]
    launcher.server.refuse(CLAIMS, status, code)
    for order_id in order_ids:
        doorbell.ring(Bell(order_id, TASK_LANE))

    one_turn(launcher, doorbell)

    assert doorbell.given_back == [(order_id, 1) for order_id in order_ids]
    assert len(launcher.server.bodies(CLAIMS)) == 1
    assert both_slots_are_free(launcher)


def test_a_bell_that_a_quota_refuses_is_given_back_for_as_long_as_the_control_plane_asks(
    launcher: InProcessLauncher,
) -> None:
    doorbell, order_id = Recording(), launcher.server.offer()
    doorbell.ring(Bell(order_id, TASK_LANE))
    launcher.server.refuse(CLAIMS, 429, "quota_exceeded", {"Retry-After": "7"})

    one_turn(launcher, doorbell)

    assert (doorbell.given_back, doorbell.acknowledged) == ([(order_id, 7.0)], [])
    assert launcher.room() == 2


def test_the_bell_of_an_order_beyond_the_scope_of_the_key_is_given_back_and_delays_no_other(
    launcher: InProcessLauncher,
) -> None:
    """The launcher serves the lane of tasks that ask for secrets, but not every launcher's key is good for it."""
    doorbell, foreign = Recording(), ["beyond-1", "beyond-2"]
    launcher.server.beyond_scope.update(foreign)
    order_id = launcher.server.offer()
    for one in (foreign[0], order_id, foreign[1]):
        doorbell.ring(Bell(one, TASK_LANE))
    clock, closing = ManualClock(most=2), Closing(launcher.admission)

    with structlog.testing.capture_logs() as logs:
        DoorbellLoop(doorbell, launcher.claims, launcher.assignments, closing, launcher.outage, clock.clock()).run()  # type: ignore[arg-type]

    assert doorbell.given_back == [(one, FOREIGN_DELAY.total_seconds()) for one in foreign]
    assert doorbell.acknowledged == [order_id]
    assert set(clock.pauses) == {0}
    assert [line for line in logs if "requests" in line] == []


def test_an_order_that_the_control_plane_cannot_read_delays_no_other_bell(launcher: InProcessLauncher) -> None:
    """After a rollback there may be many. If each counted as an outage, all other bells would wait behind them."""
    doorbell, unreadable = Recording(), ["of-later-1", "of-later-2"]
    launcher.server.unreadable.update(unreadable)
    order_id = launcher.server.offer()
    for one in (unreadable[0], order_id, unreadable[1]):
        doorbell.ring(Bell(one, TASK_LANE))
    clock, closing = ManualClock(most=2), Closing(launcher.admission)

    with structlog.testing.capture_logs() as logs:
        DoorbellLoop(doorbell, launcher.claims, launcher.assignments, closing, launcher.outage, clock.clock()).run()  # type: ignore[arg-type]

    assert doorbell.given_back == [(one, 30) for one in unreadable]
    assert doorbell.acknowledged == [order_id]
    assert set(clock.pauses) == {0}
    assert [line["requests"] for line in logs if "requests" in line] == ["orders of another version"]


def test_a_bell_is_given_back_and_its_slot_freed_if_claims_are_not_answered(launcher: InProcessLauncher) -> None:
    doorbell = Recording()
    doorbell.ring(Bell("waiting", TASK_LANE))
    with ControlPlane(f"http://{LOOPBACK}:{free_port()}", "ly_key") as unreachable:
        one_turn(launcher, doorbell, OrderClaimer(unreachable, "alpha", launcher.claims.lanes))

    assert doorbell.given_back == [("waiting", 1)]
    assert both_slots_are_free(launcher)


def test_a_claim_without_an_answer_is_asked_again_as_the_same_request(launcher: InProcessLauncher) -> None:
    doorbell, bell = Recording(), Bell(launcher.server.offer(), TASK_LANE)
    launcher.server.refuse(CLAIMS, 503)
    doorbell.ring(bell)
    one_turn(launcher, doorbell)
    launcher.server.serve(CLAIMS)
    doorbell.ring(bell)

    one_turn(launcher, doorbell)

    first, second = launcher.server.bodies(CLAIMS)
    assert first == second


def test_a_doorbell_that_is_out_of_order_is_asked_again_after_longer_and_longer_waits(
    launcher: InProcessLauncher,
) -> None:
    class Broken(Recording):
        def pull(self, most: int) -> Sequence[DeliveredBell]:
            raise BellsUnavailable("out of order")

    clock, admission = ManualClock(most=4), room_for(launcher.state, 1)
    DoorbellLoop(Broken(), launcher.claims, launcher.assignments, admission, launcher.outage, clock.clock()).run()
    assert clock.pauses == [1, 2, 4, 8]


def test_a_doorbell_that_works_again_is_logged_and_its_next_failure_is_a_first_one(
    launcher: InProcessLauncher,
) -> None:
    class Hiccups(Recording):
        fails = iter([True, True, False, True])

        def pull(self, most: int) -> Sequence[DeliveredBell]:
            if next(self.fails):
                raise BellsUnavailable("out of order")
            return super().pull(most)

    clock, admission = ManualClock(most=4), room_for(launcher.state, 1)
    with structlog.testing.capture_logs() as logs:
        DoorbellLoop(Hiccups(), launcher.claims, launcher.assignments, admission, launcher.outage, clock.clock()).run()

    assert clock.pauses == [1, 2, 0, 1]
    assert [(line["event"], line["server"]) for line in logs] == [
        (LogEvent.SERVER_UNAVAILABLE, "the doorbell"),
        (LogEvent.SERVER_AVAILABLE, "the doorbell"),
        (LogEvent.SERVER_UNAVAILABLE, "the doorbell"),
    ]


def test_a_broker_that_loses_the_acknowledgement_stops_no_order(launcher: InProcessLauncher) -> None:
    class Deaf(Recording):
        def acknowledge(self, delivered: DeliveredBell) -> None:
            raise BellsUnavailable("not now")

    doorbell, order_id = Deaf(), launcher.server.offer()
    doorbell.ring(Bell(order_id, TASK_LANE))

    one_turn(launcher, doorbell)

    assert [assignment.hold.order_id for assignment in launcher.assignments.held()] == [order_id]


def test_an_order_that_is_answered_twice_is_run_once(launcher: InProcessLauncher) -> None:
    assignment = launcher.begin()
    room = launcher.reserve()
    again = launcher.server.a_claimed().model_copy(update=assignment.hold.model_dump())

    launcher.assignments.begin(again, room, SYSTEM.monotonic())

    assert launcher.assignments.held() == (assignment,)
    assert launcher.room() == 1


def test_there_are_never_more_machines_than_slots(launcher: InProcessLauncher) -> None:
    doorbell = Recording()
    order_ids = [launcher.server.offer() for _ in range(5)]
    with running(a_loop(launcher, doorbell), launcher):
        for order_id in order_ids:
            doorbell.ring(Bell(order_id, TASK_LANE))
        for ended in range(5):
            launcher.server.wait_for(lambda so_far=ended: len(provisioned(launcher)) >= min(so_far + 2, 5))  # type: ignore[misc]
            assert len(launcher.assignments.held()) <= 2
            launcher.assignments.held()[0].stop(StopReason.FINISHED)

    assert sorted(provisioned(launcher)) == sorted(order_ids)


def test_as_many_bells_are_asked_for_as_there_is_room_for(launcher: InProcessLauncher) -> None:
    doorbell = Recording()
    with running(a_loop(launcher, doorbell), launcher):
        for count in (1, 2):
            doorbell.ring(Bell(launcher.server.offer(), TASK_LANE))
            launcher.server.wait_for(lambda so_far=count: len(provisioned(launcher)) == so_far)  # type: ignore[misc]
        launcher.assignments.held()[0].stop(StopReason.FINISHED)
        doorbell.ring(Bell(launcher.server.offer(), TASK_LANE))
        launcher.server.wait_for(lambda: len(provisioned(launcher)) == 3)

    assert doorbell.asked == [2, 1, 1]
    assert not doorbell.given_back


def test_while_claims_are_not_served_one_is_tried_after_each_longer_wait_and_one_line_says_so(
    launcher: InProcessLauncher,
) -> None:
    doorbell, clock, admission = Recording(), ManualClock(most=6), room_for(launcher.state, 1)
    launcher.server.refuse(CLAIMS, 503)
    for _ in range(6):
        doorbell.ring(Bell(launcher.server.offer(), TASK_LANE))
    outage = Outage(clock.clock().monotonic)

    with structlog.testing.capture_logs() as logs:
        DoorbellLoop(doorbell, launcher.claims, launcher.assignments, admission, outage, clock.clock()).run()

    assert clock.pauses == [1, 2, 4, 8, 16, 30]
    assert len(launcher.server.bodies(CLAIMS)) == 6
    assert sum(line["log_level"] == "warning" for line in logs) == 1


def both_slots_are_free(launcher: InProcessLauncher) -> bool:
    return launcher.room() == 2


def provisioned(launcher: InProcessLauncher) -> list[str]:
    return [seen.path.rsplit("/", 1)[-1] for seen in launcher.server.seen if seen.body.get("status") == "provisioning"]


def test_a_bell_of_a_lane_that_another_loop_polls_is_acknowledged_and_its_order_left_to_that_loop(
    launcher: InProcessLauncher,
) -> None:
    paced = Lane("any/task/image", "fly", Resources(machines=1), starting_limit=2)
    doorbell, closing = Recording(), Closing(launcher.admission)
    doorbell.ring(Bell("one", paced.name))

    DoorbellLoop(
        doorbell,
        launcher.claims,
        launcher.assignments,
        closing,  # type: ignore[arg-type]
        launcher.outage,
        ManualClock(most=1).clock(),
        polled=Lanes((paced,)),
    ).run()

    assert (doorbell.acknowledged, doorbell.given_back) == (["one"], [])
    assert not launcher.server.bodies(CLAIMS)
    assert both_slots_are_free(launcher)
