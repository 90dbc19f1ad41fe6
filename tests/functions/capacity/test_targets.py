"""Pool targets, section 5: set, listed, removed by operators."""

from datetime import timedelta

import pytest

from functions.domain.accounts import AccountType
from functions.domain.pools import MAX_MACHINES
from shared.domain.order import State
from tests.functions.capacity.pools import (
    DATACENTER,
    POOL,
    RECONCILE,
    TARGETS,
    aim,
    alive,
    answer,
    listed,
    orders,
    put,
    refused,
    run,
    swept,
)
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World


def test_a_target_has_the_contracts_fields_and_defaults(world: World) -> None:
    target = answer(put(world, POOL))
    assert target == {
        "account_id": None,
        **POOL,
        "min_warm_count": 0,
        "enabled": True,
        "require_verified": True,
        "require_healthy": True,
        "require_hostname": True,
        "dispatch": False,
        "reason": "capacity-pool-controller",
        "attestation": "optional",
        "created_at": "2026-11-22T12:00:00Z",
        "updated_at": "2026-11-22T12:00:00Z",
        "eligible_agents": 0,
        "open_reservations": 0,
        "shortfall": 0,
        "surplus": 0,
    }
    assert listed(world) == [target]


def test_a_target_is_replaced_in_any_spelling_of_datacenter_and_size(world: World) -> None:
    aim(world, 2)
    world.clock.now += timedelta(minutes=1)
    body = {"datacenter": " Google:US-central1-a ", "node_size": " TINY ", "min_warm_count": 3, "unknown": 1}
    changed = answer(put(world, body))
    assert (changed["datacenter"], changed["node_size"]) == (DATACENTER, "tiny")
    assert (changed["min_warm_count"], changed["dispatch"], changed["shortfall"]) == (3, False, 3)
    assert (changed["created_at"], changed["updated_at"]) == ("2026-11-22T12:00:00Z", "2026-11-22T12:01:00Z")
    world.clock.now += timedelta(minutes=1)
    assert answer(put(world, body)) == changed
    assert listed(world) == [changed]


def test_a_target_without_a_size_is_refused(world: World) -> None:
    wrong = "Invalid node_size. Expected one of: tiny, standard, llm"
    for size in ("", "  ", "huge"):
        assert refused(put(world, {**POOL, "node_size": size}), 422) == wrong
    assert refused(put(world, {"datacenter": "gcp:a"}), 422) == [
        {"type": "missing", "loc": ["body", "node_size"], "msg": "Field required"}
    ]
    assert listed(world) == []


@pytest.mark.parametrize("datacenter", ["gcp/us", ":", "gcp:a:b", "", "gcp:" + "a" * 97])
def test_a_target_of_no_datacenter_is_refused(world: World, datacenter: str) -> None:
    detail = refused(put(world, {**POOL, "datacenter": datacenter}), 422)
    assert detail.startswith("Invalid datacenter. Expected '<cloud>:<zone>'")


@pytest.mark.parametrize("count", [-1, MAX_MACHINES + 1, 1_000_000, "many", None, 1.5])
def test_a_count_out_of_bounds_is_refused_by_its_name(world: World, count: object) -> None:
    (wrong,) = refused(put(world, {**POOL, "min_warm_count": count}), 422)
    assert wrong["loc"] == ["body", "min_warm_count"]
    (wrong,) = refused(world.post(RECONCILE, {"targets": [{**POOL, "min_count": count}]}, ADMIN), 422)
    assert wrong["loc"] == ["body", "targets", 0, "min_count"]


def test_targets_are_for_operators_only(world: World) -> None:
    deployer = world.admit(AccountType.DEPLOYER)[1]
    assert refused(world.http.get(TARGETS), 401) == "Missing Authorization header"
    assert refused(world.http.get(TARGETS, headers={"Authorization": "Bearer a b"}), 401) == (
        "Invalid Authorization header format. Expected: Bearer <token>"
    )
    for key in (deployer, CLIENT, LAUNCHER):
        assert refused(put(world, POOL, key), 401) == "Invalid session token"
        assert refused(world.get(TARGETS, key), 401) == "Invalid session token"
        assert refused(world.post(RECONCILE, {}, key), 401) == "Invalid session token"
        assert refused(world.delete(f"{TARGETS}?datacenter=gcp:a&node_size=tiny", key), 401) == "Invalid session token"
    token, _ = world.ports.sessions.open("an operator's password of tests")
    assert answer(world.get(TARGETS, token))["total"] == 0


def test_a_target_that_is_removed_gives_its_machines_back_and_is_unknown_then(world: World) -> None:
    aim(world, 3)
    swept(world)
    first, second, third = orders(world)
    run(world, first)
    run(world, second, attended=False)
    path = f"{TARGETS}?datacenter=google:us-central1-a&node_size=tiny"

    removed = answer(world.delete(path, ADMIN))

    assert removed == {"status": "deleted", "account_id": None, **POOL, "released": 2, "remaining": 1}
    assert world.order(first.id).cancel_requested_at is not None
    assert world.order(second.id).cancel_requested_at is None
    assert world.order(third.id).state is State.CANCELLED
    assert listed(world) == []
    assert refused(world.delete(path, ADMIN), 404) == "Capacity pool target not found"
    assert swept(world)["created"] == 0


def test_a_target_set_again_after_its_removal_counts_machines_that_could_not_be_stopped(world: World) -> None:
    aim(world, 1)
    swept(world)
    run(world, orders(world)[0], attended=False)
    answer(world.delete(f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny", ADMIN))
    aim(world, 2)
    assert swept(world)["created"] == 1
    assert len(alive(world)) == 2
