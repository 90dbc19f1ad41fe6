"""A launcher that never held an order learns nothing of it: not that it exists, who holds it, or its epoch."""

from typing import Any

import pytest

from functions.domain.fence import has_held
from functions.domain.order import Lease, Order
from shared.domain.order import State
from shared.domain.spec import TaskSpec
from tests.factories import NOW, an_order
from tests.functions.test_update import REPORTS
from tests.functions.world import LAUNCHER, OTHER_LAUNCHER, World, by_id

NO_ID = "4a0e1ae5-5b0d-4c86-9a6c-6f5d3d0c3a10"
STATES = ["queued", "held", "held again", "ended"]


def in_state(world: World, state: str) -> str:
    """Return an order of another account, in this state, which the launcher beta never held."""
    order_id: str = world.place(TaskSpec(command=("true",)))["id"]
    if state == "queued":
        return order_id
    world.claim(order_id)
    if state == "held again":
        world.lapse(order_id)
        world.claim(order_id)
    if state == "ended":
        world.update(order_id, "failed", reason="launch_failed", message="", failure="permanent")
    return order_id


def plain(answer: Any, order_id: str) -> tuple[int, str]:
    return answer.status_code, answer.text.replace(order_id, "<id>")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("status", "fields"), [*REPORTS, ("running", {})])
@pytest.mark.parametrize("stranger", [{"key": OTHER_LAUNCHER}, {"launcher": "beta"}])
def test_a_report_of_who_never_held_it_is_answered_as_if_there_were_no_such_order(
    world: World, state: str, status: str, fields: dict[str, Any], stranger: dict[str, Any]
) -> None:
    order_id = in_state(world, state)
    before = world.order(order_id)

    for epoch in (1, 2, 7):
        known = world.update(order_id, status, epoch, **fields, **stranger)
        unknown = world.update(NO_ID, status, epoch, **fields, **stranger)

        assert plain(known, order_id) == plain(unknown, NO_ID)
        assert known.status_code == 404
    assert world.order(order_id) == before


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("stranger", [{"key": OTHER_LAUNCHER}, {"launcher": "beta"}])
def test_a_heartbeat_for_what_it_never_held_is_answered_as_if_there_were_no_such_order(
    world: World, state: str, stranger: dict[str, Any]
) -> None:
    order_id = in_state(world, state)

    for epoch in (1, 2, 7):
        answer = world.heartbeat((order_id, epoch), (NO_ID, epoch), **stranger)

        assert {stop["why"] for stop in answer["stop"]} == {"lease_lost"}
        assert answer["renewed"] == []


@pytest.mark.parametrize("state", STATES)
def test_an_environment_of_what_it_never_held_is_refused_as_if_there_were_no_such_order(
    world: World, state: str
) -> None:
    order_id = in_state(world, state)

    for epoch in (1, 2, 7):
        known, unknown = (
            world.post(f"/v1/environments/{one}", {"launcher": "beta", "epoch": epoch}, OTHER_LAUNCHER)
            for one in (order_id, NO_ID)
        )
        assert plain(known, order_id) == plain(unknown, NO_ID)
        assert known.status_code == 404


def test_a_claim_by_id_outside_its_lanes_does_not_tell_the_orders_lane(world: World) -> None:
    order_id = in_state(world, "queued")

    refused = world.post("/v1/claims", by_id(order_id, lanes=["local:dev/capacity/tiny"]), LAUNCHER)

    assert refused.status_code == 409
    assert "any/task" not in refused.text


@pytest.mark.parametrize("lost_by", ["lapse", "retry"])
def test_who_held_it_before_is_told_that_the_lease_is_lost(world: World, lost_by: str) -> None:
    order_id = in_state(world, "held")
    if lost_by == "retry":
        body: dict[str, Any] = {
            "reason": "machine_exited",
            "message": "",
            "failure": "retryable",
            "request_id": "the-same",
        }
        answers = [world.update(order_id, "failed", **body) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
    world.lapse(order_id)
    assert world.claim(order_id, key=OTHER_LAUNCHER) is not None

    answer = world.update(order_id, "provisioning", 1, vm="vm-1")

    assert answer.status_code == 409
    assert answer.get_json()["type"] == "urn:launchyard:problem:lease_lost"


@pytest.mark.parametrize(
    "order",
    [
        an_order(state=State.RUNNING, lease=Lease("rack/alpha#1", NOW)),
        an_order(state=State.FAILED, claimed_by="rack/alpha#1"),
        an_order(former=("rack/alpha#1", "rack/gamma")),
        an_order(recent=("rack/alpha@a-request",)),
    ],
    ids=["holder", "last holder", "former holder", "sender of a request"],
)
def test_an_order_remembers_its_holders_in_several_ways(order: Order) -> None:
    assert has_held(order, "rack/alpha#1")
    assert has_held(order, "rack/alpha")
    assert not has_held(order, "attic/alpha")
    assert not has_held(order, "rack/alph")
