"""The doorbell's loop: what becomes of each bell, and how many are heard at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import structlog.testing

from emulators.processes import LOOPBACK, free_port
from launcher.claims import Claims
from launcher.clock import SYSTEM, Clock
from launcher.doorbell import DoorbellLoop
from launcher.held import Wish
from launcher.outage import Outage
from launcher.slots import Slots
from shared.adapters.memory import MemoryDoorbell
from shared.control_plane import ControlPlane
from shared.ports import Bell, BellListener, Heard, Listening
from tests.launcher.conftest import Pieces
from tests.launcher.fake_control_plane import CLAIMS
from tests.launcher.stand_ins import ManualClock

OURS: Final = "any/task"


class Recording:
    """A listener that notes for how many bells it was opened."""

    def __init__(self, listener: BellListener) -> None:
        self.opened: list[int] = []
        self._listener = listener

    def listen(self, heard: Heard, most: int) -> Listening:
        self.opened.append(most)
        return self._listener.listen(heard, most)


def a_loop(pieces: Pieces, listener: BellListener | None = None, clock: Clock = SYSTEM) -> DoorbellLoop:
    return DoorbellLoop(listener or MemoryDoorbell(), pieces.claims, pieces.runs, pieces.slots, pieces.outage, clock)


@contextmanager
def running(loop: DoorbellLoop, pieces: Pieces) -> Iterator[None]:
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield
    pieces.slots.close()
    thread.join()


def test_a_bell_is_acknowledged_once_its_order_is_claimed_and_its_machine_lives_on(pieces: Pieces) -> None:
    order_id = pieces.server.offer()

    assert a_loop(pieces).hear(Bell(order_id, OURS))

    pieces.server.wait_for(lambda: pieces.server.statuses(order_id) == ["provisioning"])
    assert [held.hold.order_id for held in pieces.runs.held()] == [order_id]


def test_a_bell_of_an_order_that_another_took_is_acknowledged(pieces: Pieces) -> None:
    order_id = pieces.server.offer()
    Claims(pieces.client, "beta", pieces.claims.lanes).by_id(order_id)

    assert a_loop(pieces).hear(Bell(order_id, OURS))

    assert not pieces.runs.held()
    assert pieces.slots.unfilled == 2


def test_a_bell_of_an_order_that_is_gone_is_acknowledged(pieces: Pieces) -> None:
    assert a_loop(pieces).hear(Bell("gone", OURS))
    assert both_slots_are_free(pieces)


def test_a_bell_of_another_lane_is_given_back_and_nothing_is_claimed(pieces: Pieces) -> None:
    clock = ManualClock(most=99)

    assert not a_loop(pieces, clock=clock.clock()).hear(Bell(pieces.server.offer(), "rack:7/capacity/tiny"))

    assert clock.pauses == [1.0]
    assert not pieces.server.bodies(CLAIMS)


def test_a_bell_is_given_back_unclaimed_while_no_slot_is_free(pieces: Pieces) -> None:
    pieces.slots.reserve()
    pieces.slots.reserve()

    assert not a_loop(pieces).hear(Bell(pieces.server.offer(), OURS))

    assert not pieces.server.bodies(CLAIMS)


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (401, "unauthenticated"), (403, "forbidden")])
def test_a_bell_is_given_back_and_its_slot_freed_where_the_claim_is_not_served(
    pieces: Pieces, status: int, code: str
) -> None:
    pieces.server.refuse(CLAIMS, status, code)

    assert not a_loop(pieces).hear(Bell(pieces.server.offer(), OURS))

    assert both_slots_are_free(pieces)


def test_a_bell_is_given_back_and_its_slot_freed_where_nobody_answers(pieces: Pieces) -> None:
    with ControlPlane(f"http://{LOOPBACK}:{free_port()}", "ly_key") as nobody:
        claims = Claims(nobody, "alpha", pieces.claims.lanes)
        loop = DoorbellLoop(MemoryDoorbell(), claims, pieces.runs, pieces.slots, pieces.outage, SYSTEM)

        assert not loop.hear(Bell("waiting", OURS))

    assert both_slots_are_free(pieces)


def test_a_claim_without_an_answer_is_asked_again_as_the_same_request(pieces: Pieces) -> None:
    bell = Bell(pieces.server.offer(), OURS)
    pieces.server.refuse(CLAIMS, 503)
    a_loop(pieces).hear(bell)
    pieces.server.serve(CLAIMS)

    assert a_loop(pieces).hear(bell)

    first, second = pieces.server.bodies(CLAIMS)
    assert first == second


def test_an_order_that_is_answered_twice_is_run_once(pieces: Pieces) -> None:
    held = pieces.begin()
    slot = pieces.slots.reserve()
    assert slot is not None

    pieces.runs.begin(held.claimed, slot)

    assert pieces.runs.held() == (held,)
    assert pieces.slots.unfilled == 1
    assert pieces.slots.reserve() is not None


def test_there_are_never_more_machines_than_slots(pieces: Pieces) -> None:
    doorbell = MemoryDoorbell()
    order_ids = [pieces.server.offer() for _ in range(5)]
    with running(a_loop(pieces, doorbell), pieces):
        for order_id in order_ids:
            doorbell.ring(Bell(order_id, OURS))
        for ended in range(5):
            pieces.server.wait_for(lambda so_far=ended: len(provisioned(pieces)) >= min(so_far + 2, 5))  # type: ignore[misc]
            assert len(pieces.runs.held()) <= 2
            assert pieces.slots.unfilled >= 0
            pieces.runs.held()[0].ask(Wish.FINISHED)
            pieces.slots.wait_until(lambda: pieces.slots.unfilled > 0)

    assert sorted(provisioned(pieces)) == sorted(order_ids)


def test_the_stream_is_opened_anew_for_as_many_bells_as_there_is_room_for(pieces: Pieces) -> None:
    doorbell = MemoryDoorbell()
    listener = Recording(doorbell)
    with running(a_loop(pieces, listener), pieces):
        for count in (1, 2):
            doorbell.ring(Bell(pieces.server.offer(), OURS))
            pieces.server.wait_for(lambda so_far=count: len(provisioned(pieces)) == so_far)  # type: ignore[misc]
        pieces.runs.held()[0].ask(Wish.FINISHED)
        pieces.slots.wait_until(lambda: pieces.slots.unfilled == 1)
        doorbell.ring(Bell(pieces.server.offer(), OURS))
        pieces.server.wait_for(lambda: len(provisioned(pieces)) == 3)

    assert listener.opened == [2, 1, 1]


def test_while_claims_are_not_served_one_is_tried_after_each_longer_wait_and_one_line_says_so(pieces: Pieces) -> None:
    doorbell, clock, slots = MemoryDoorbell(), ManualClock(most=6), Slots(1)
    listener = Recording(doorbell)
    pieces.server.refuse(CLAIMS, 503)
    doorbell.ring(Bell(pieces.server.offer(), OURS))
    outage = Outage(clock.clock().monotonic)

    with structlog.testing.capture_logs() as logs:
        DoorbellLoop(listener, pieces.claims, pieces.runs, slots, outage, clock.clock()).run()

    assert clock.pauses == [1, 2, 4, 8, 16, 30]
    assert listener.opened == [1] * 6
    assert len(pieces.server.bodies(CLAIMS)) == 6
    assert sum(line["log_level"] == "warning" for line in logs) == 1


def both_slots_are_free(pieces: Pieces) -> bool:
    return pieces.slots.reserve() is not None and pieces.slots.reserve() is not None


def provisioned(pieces: Pieces) -> list[str]:
    return [seen.path.rsplit("/", 1)[-1] for seen in pieces.server.seen if seen.body.get("status") == "provisioning"]
