"""A launcher that has just started asks which orders it holds."""

import pytest

from tests.functions.world import ADMIN, CLIENT, LAUNCHER, OTHER_LAUNCHER, World


def held(world: World, launcher: str = "alpha", key: str = LAUNCHER) -> list[tuple[str, int, str]]:
    response = world.get(f"/v1/holds?launcher={launcher}", key)
    assert response.status_code == 200, response.text
    return sorted((hold["order_id"], hold["epoch"], hold["state"]) for hold in response.get_json()["holds"])


def test_a_launcher_sees_what_it_holds_at_which_epoch_and_in_which_state(world: World) -> None:
    claimed, running, ended = (world.place()["id"] for _ in range(3))
    for order_id in (claimed, running, ended):
        world.claim(order_id)
    world.call_back(running, "started")
    world.update(ended, "returned", message="")

    assert held(world) == sorted([(claimed, 1, "claimed"), (running, 1, "running")])


def test_a_launcher_does_not_see_the_holds_of_another_of_its_account(world: World) -> None:
    world.claim(world.place()["id"], launcher="beta")

    assert held(world, "alpha") == []


def test_an_accounts_launchers_are_not_those_of_another_with_the_same_name(world: World) -> None:
    ours, theirs = world.place()["id"], world.place()["id"]
    world.claim(ours)
    world.claim(theirs, OTHER_LAUNCHER)

    assert [order_id for order_id, _, _ in held(world)] == [ours]
    assert [order_id for order_id, _, _ in held(world, key=OTHER_LAUNCHER)] == [theirs]


def test_an_order_whose_lease_lapsed_is_no_longer_held(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    world.lapse(order_id)

    assert held(world) == []
    world.claim(order_id)
    assert held(world) == [(order_id, 2, "claimed")]


@pytest.mark.parametrize("query", ["", "?launcher=", "?launcher=rack/alpha", "?launcher=alpha&state=running"])
def test_a_wrong_query_is_invalid(world: World, query: str) -> None:
    assert world.get(f"/v1/holds{query}", LAUNCHER).status_code == 422


@pytest.mark.parametrize("key", [CLIENT, ADMIN])
def test_only_launchers_ask_what_they_hold(world: World, key: str) -> None:
    assert world.get("/v1/holds?launcher=alpha", key).status_code == 403
