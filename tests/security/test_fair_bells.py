"""The bells of one account's many orders bring other accounts' orders in their turn."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from functions.domain.order import FIRST_RING_INTERVAL
from functions.engine.backlogs import BEHIND_AFTER
from functions.engine.candidates import Candidates
from functions.ports.orders import Snapshot
from shared.domain.order import State
from tests.factories import CAPACITY, TASK
from tests.functions.world import LAUNCHER, STRANGER, World, by_id
from tests.meanwhile import Failing, Meanwhile

BEHIND: Final = BEHIND_AFTER + timedelta(seconds=1)


@pytest.fixture
def fair(world: World) -> World:
    """The control plane with the claims that it has in production."""
    world.ports = replace(world.ports, any_order=Candidates(world.ports.store))
    return world


def flood(world: World, count: int = 20) -> list[str]:
    return [world.place(key=STRANGER)["id"] for _ in range(count)]


def answer(world: World, order_id: str) -> str | None:
    """Claim as a launcher does that has received the bell of this order; return the order that it got."""
    claimed = world.claim(order_id)
    return None if claimed is None else claimed["order_id"]


def test_a_bell_brings_its_own_order_while_its_lane_is_not_behind(fair: World) -> None:
    placed = flood(fair)
    fair.clock.now += BEHIND_AFTER

    assert [answer(fair, order_id) for order_id in reversed(placed)] == placed[::-1]


def test_the_bells_of_many_orders_that_wait_bring_another_accounts_order_with_the_first_two(fair: World) -> None:
    placed = flood(fair)
    fair.clock.now += BEHIND
    victim = fair.place()["id"]

    assert victim in [answer(fair, order_id) for order_id in placed[:2]]


def test_an_order_that_has_waited_long_shows_that_its_lane_is_behind_now(fair: World) -> None:
    placed = flood(fair)
    fair.clock.now += BEHIND_AFTER / 2
    assert answer(fair, placed[0]) == placed[0]  # so the lane is known not to be behind, for a while
    fair.clock.now += BEHIND_AFTER - timedelta(seconds=1)
    victim = fair.place()["id"]

    assert victim in [answer(fair, order_id) for order_id in placed[1:3]]


def test_the_bells_of_orders_that_have_just_come_do_not_pass_one_that_waits(fair: World) -> None:
    victim = fair.place()["id"]
    fair.clock.now += BEHIND
    placed = flood(fair)

    assert victim in [answer(fair, order_id) for order_id in placed[:2]]


def test_whether_a_lane_is_behind_costs_one_read_in_a_while(fair: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store, reads = fair.ports.store, list[int]()
    claimable = store.claimable

    def note(lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        reads.append(limit)
        return claimable(lanes, now, limit)

    monkeypatch.setattr(store, "claimable", note)

    for order_id in flood(fair):
        assert answer(fair, order_id) == order_id

    assert reads == [1]


def cancel(world: World, order_id: str) -> None:
    world.post(f"/v1/orders/{order_id}/cancel", key=STRANGER)


def take(world: World, order_id: str) -> None:
    world.claim(order_id, launcher="beta")


def defer(world: World, order_id: str) -> None:
    world.claim(order_id, launcher="beta")
    no_room = {"reason": "no_capacity", "message": "No room.", "failure": "no_capacity"}
    assert world.update(order_id, "failed", 1, LAUNCHER, **no_room, launcher="beta").status_code == 200


@pytest.mark.parametrize("spoil", [cancel, take, defer])
def test_the_bell_of_an_order_that_cannot_be_claimed_brings_the_next_of_its_lane(
    fair: World, spoil: Callable[[World, str], None]
) -> None:
    spoiled = flood(fair)
    for order_id in spoiled:
        spoil(fair, order_id)
    victim = fair.place()["id"]

    assert answer(fair, spoiled[0]) == victim
    assert answer(fair, spoiled[1]) is None


def test_a_bell_brings_no_order_of_another_lane(fair: World) -> None:
    machine = fair.place(CAPACITY)["id"]
    task, other = fair.place(TASK)["id"], fair.place(TASK)["id"]
    fair.clock.now += BEHIND

    assert {answer(fair, task) for _ in range(3)} == {task, other, None}
    assert fair.order(machine).state is State.QUEUED


def test_a_repeated_answer_to_a_bell_brings_the_same_order_and_claims_no_other(fair: World) -> None:
    placed = flood(fair)
    fair.clock.now += BEHIND
    victim = fair.place()["id"]
    heard = [by_id(order_id) for order_id in placed[:2]]

    first = [fair.post("/v1/claims", body, LAUNCHER).get_json()["claimed"] for body in heard]
    fair.clock.now += BEHIND
    again = [fair.post("/v1/claims", body, LAUNCHER).get_json()["claimed"] for body in heard]

    assert victim in [claimed["order_id"] for claimed in first]
    assert [(one["order_id"], one["epoch"]) for one in again] == [(one["order_id"], one["epoch"]) for one in first]
    assert [fair.order(one).state for one in (*placed, victim)].count(State.CLAIMED) == 2


def test_a_repeat_that_comes_when_its_lane_is_behind_looks_for_no_other_order(fair: World, failing: Failing) -> None:
    placed = flood(fair)
    body = by_id(placed[0])
    first = fair.post("/v1/claims", body, LAUNCHER).get_json()["claimed"]
    fair.clock.now += BEHIND
    failing(fair.ports.any_order, "next", AssertionError("It has an order."))

    again = fair.post("/v1/claims", body, LAUNCHER).get_json()["claimed"]

    assert (first["order_id"], again["order_id"]) == (placed[0], placed[0])
    assert [fair.order(one).state for one in placed].count(State.CLAIMED) == 1


def test_a_repeat_that_overtakes_the_first_try_and_finds_the_lane_behind_claims_no_second_order(
    fair: World, meanwhile: Meanwhile
) -> None:
    placed = flood(fair)
    body, overtaking = by_id(placed[0]), list[str]()

    def overtake() -> None:
        fair.clock.now += BEHIND
        claimed = fair.post("/v1/claims", body, LAUNCHER).get_json()["claimed"]
        overtaking.append(claimed["order_id"])

    meanwhile(fair.ports.store, "claim", overtake)
    first = fair.post("/v1/claims", body, LAUNCHER).get_json()["claimed"]

    assert overtaking == [first["order_id"]]
    assert [fair.order(one).state for one in placed].count(State.CLAIMED) == 1


def test_an_order_whose_bell_brought_another_is_rung_for_again(fair: World) -> None:
    placed = flood(fair, 2)
    fair.clock.now += BEHIND
    victim = fair.place()["id"]
    brought = [answer(fair, order_id) for order_id in placed]
    (left,) = {*placed, victim} - {order_id for order_id in brought if order_id}
    fair.bells.asked.clear()
    fair.clock.now += FIRST_RING_INTERVAL

    fair.sweep()

    assert victim in brought
    assert left in fair.bells.rung
