"""The polling loop: what a launcher without Pub/Sub asks, and how it waits."""

import threading
from collections.abc import Sequence

import pytest
import structlog.testing

from emulators.processes import LOOPBACK, free_port
from launcher.daemon.poll import PollingLoop
from launcher.host.clock import SYSTEM, Clock
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission, Room
from launcher.orders.assignment import Held, Wish
from launcher.orders.assignments import Runs
from launcher.orders.claims import Claims
from launcher.orders.lanes import Lane, Lanes
from launcher.orders.outage import Outage
from shared.client import ControlPlane
from shared.domain.spec import CapacitySpec, NodeSize
from shared.wire.launchers import Claimed
from tests.launcher.conftest import Pieces
from tests.launcher.fake_control_plane import CLAIMS, DEADLINE
from tests.launcher.stand_ins import ManualClock


def test_orders_are_claimed_one_at_a_time_while_there_is_room(pieces: Pieces) -> None:
    offered = {pieces.server.offer() for _ in range(3)}
    loop = PollingLoop(pieces.claims, pieces.runs, pieces.admission, pieces.outage, SYSTEM)
    thread = threading.Thread(target=loop.run)
    thread.start()
    pieces.server.wait_for(lambda: provisioned(pieces) == 2)
    claims_while_full = len(pieces.server.bodies(CLAIMS))

    pieces.runs.held()[0].ask(Wish.FINISHED)
    pieces.server.wait_for(lambda: provisioned(pieces) == 3)
    pieces.admission.close()
    thread.join()

    assert claims_while_full == 2
    assert {body["wait_seconds"] for body in pieces.server.bodies(CLAIMS)} == {5}
    assert {seen.path.rsplit("/", 1)[-1] for seen in pieces.server.seen if "/updates/" in seen.path} == offered


def test_an_unreachable_control_plane_is_tried_ever_less_often_and_told_of_once_a_minute(pieces: Pieces) -> None:
    clock = ManualClock(most=8)
    with ControlPlane(f"http://{LOOPBACK}:{free_port()}", "ly_key") as nobody, structlog.testing.capture_logs() as logs:
        claims = Claims(nobody, "alpha", pieces.claims.lanes)
        outage = Outage(clock.clock().monotonic)
        PollingLoop(claims, pieces.runs, pieces.admission, outage, clock.clock()).run()

    assert clock.pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [line["failed_tries"] for line in logs if line["log_level"] == "warning"] == [1, 7]


def test_a_claim_without_an_answer_is_repeated_as_the_same_request_and_an_answered_one_is_not(pieces: Pieces) -> None:
    clock = ManualClock(most=2)
    pieces.server.refuse(CLAIMS, 503)
    PollingLoop(pieces.claims, pieces.runs, pieces.admission, pieces.outage, clock.clock()).run()
    pieces.server.serve(CLAIMS)

    pieces.claims.next(["any/task"])
    pieces.claims.next(["any/task"])

    ids = [body["request_id"] for body in pieces.server.bodies(CLAIMS)]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_the_lease_of_a_claimed_order_is_counted_from_before_it_was_asked_for(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed, begun = [0.0], []
    clock = Clock(lambda: passed[0], lambda: 0.0, lambda _seconds, interrupt: interrupt.set())
    ask = pieces.claims.next

    def slowly(lanes: Sequence[str], wait_seconds: int) -> Claimed | None:
        passed[0] += 5
        return ask(lanes, wait_seconds)

    monkeypatch.setattr(pieces.claims, "next", slowly)
    monkeypatch.setattr(pieces.runs, "begin", lambda _claimed, _slot, asked_at: begun.append(asked_at))
    pieces.server.offer()

    PollingLoop(pieces.claims, pieces.runs, pieces.admission, pieces.outage, clock).run()

    assert begun == [0]


def test_nothing_is_claimed_once_the_launcher_goes_down(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = pieces.admission.reserve_when_free

    def then_closed(lanes: Lanes) -> Room | None:
        slot = reserve(lanes)
        pieces.admission.close()
        return slot

    monkeypatch.setattr(pieces.admission, "reserve_when_free", then_closed)

    PollingLoop(pieces.claims, pieces.runs, pieces.admission, pieces.outage, SYSTEM).run()

    assert not pieces.server.bodies(CLAIMS)
    assert pieces.room() == 2


def test_only_what_there_is_room_for_is_asked_for_and_an_order_keeps_no_more_than_it_takes(pieces: Pieces) -> None:
    tiny = Lane("x:y/capacity/tiny", "processes", Resources(machines=1, memory_mib=100))
    llm = Lane("x:y/capacity/llm", "processes", Resources(machines=1, memory_mib=800))
    admission = Admission(pieces.state, Resources(machines=9, memory_mib=1000), lambda: 0, SYSTEM.monotonic)
    runs = Runs(stay, admission, SYSTEM)
    claims = Claims(pieces.client, "alpha", Lanes((tiny, llm)))
    polling = PollingLoop(claims, runs, admission, pieces.outage, SYSTEM)
    for size in (NodeSize.TINY, NodeSize.LLM, NodeSize.TINY):
        pieces.server.offer(CapacitySpec(datacenter="x:y", node_size=size))

    polling.run(most=3)

    asked = [body["lanes"] for body in pieces.server.bodies(CLAIMS)]
    assert asked == [[tiny.name, llm.name], [tiny.name, llm.name], [tiny.name]]
    assert admission.room(tiny) == 0
    runs.close()
    runs.await_end()
    assert admission.room(llm) == 1


def stay(held: Held, _claimed: Claimed) -> None:
    """Run an order until it is to be stopped."""
    held.asked.wait(DEADLINE)


def provisioned(pieces: Pieces) -> int:
    return sum(seen.body.get("status") == "provisioning" for seen in pieces.server.seen)
