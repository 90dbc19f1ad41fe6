"""Reconciliation, section 5: what pools lack, and ordering it."""

from dataclasses import replace
from datetime import timedelta

from functions.domain.refusals import Unavailable
from tests.functions.capacity.pools import (
    ID,
    POOL,
    RECONCILE,
    TARGETS,
    aim,
    alive,
    answer,
    fail,
    listed,
    orders,
    reconcile,
    refused,
    register,
    run,
    swept,
)
from tests.functions.world import ADMIN, World
from tests.meanwhile import Failing


def test_a_reconciliation_without_dispatch_only_reports_the_shortfall(world: World) -> None:
    assert reconcile(world) == {"eligible": True, "total_shortfall": 0, "targets": [], "dispatches": []}
    aim(world, 2)
    assert reconcile(world) == {
        "eligible": False,
        "total_shortfall": 2,
        "targets": [
            {
                "account_id": None,
                **POOL,
                "min_count": 2,
                "eligible_count": 0,
                "shortfall": 2,
                "eligible_agent_ids": [],
                "in_flight": 0,
                "surplus": 0,
            }
        ],
        "dispatches": [],
    }
    assert orders(world) == []


def test_with_dispatch_the_missing_machines_are_ordered_and_202_means_in_flight(world: World) -> None:
    aim(world, 2, dispatch=False)
    body = reconcile(world, dispatch=True)
    assert body["dispatches"] == [
        {
            **POOL,
            "requested_count": 2,
            "dispatched": True,
            "status_code": 202,
            "detail": "2 launch orders in flight",
        }
    ]
    assert reconcile(world, dispatch=True) == body
    assert len(orders(world)) == 2


def test_targets_that_are_off_are_left_out(world: World) -> None:
    aim(world, 2, enabled=False)
    assert reconcile(world, dispatch=True)["targets"] == []


def test_an_explicit_target_is_filled_once_and_is_not_stored_as_a_target(world: World) -> None:
    goals = [{**POOL, "min_count": 2}]
    assert reconcile(world, targets=goals)["total_shortfall"] == 2
    assert orders(world) == []
    body = reconcile(world, targets=goals, dispatch=True, reason="a rush")
    assert (body["eligible"], body["dispatches"][0]["status_code"]) == (False, 202)
    assert [order.spec.model_dump()["purpose"] for order in orders(world)] == ["a rush", "a rush"]
    assert listed(world) == []
    swept(world)
    assert len(alive(world)) == 2
    first = orders(world)[0]
    fail(world, first)
    swept(world)
    assert len(alive(world)) == 1
    removed = answer(world.delete(f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny", ADMIN))
    assert removed["released"] == 1
    assert alive(world) == []


def test_an_explicit_target_without_a_size_is_refused(world: World) -> None:
    wrong = [{**POOL, "min_count": 1}, {"datacenter": "gcp:a", "node_size": "", "min_count": 1}]
    detail = refused(world.post(RECONCILE, {"targets": wrong, "dispatch": True}, ADMIN), 422)
    assert detail == "Invalid node_size. Expected one of: tiny, standard, llm"
    assert orders(world) == []
    many = [{**POOL, "min_count": 1}] * 101
    assert refused(world.post(RECONCILE, {"targets": many}, ADMIN), 422)[0]["loc"] == ["body", "targets"]
    assert refused(world.post(RECONCILE, None, ADMIN), 422)[0]["type"] == "missing"


def test_which_machines_count_depends_on_the_demands(world: World) -> None:
    aim(world, 2, require_verified=True, require_healthy=True, require_hostname=True)
    swept(world)
    one, other = orders(world)
    run(world, one)
    run(world, other)
    assert reconcile(world)["targets"][0]["eligible_count"] == 0
    assert reconcile(world, require_verified=False)["eligible"] is True

    register(world, one, "agent-1")
    (target,) = reconcile(world)["targets"]
    assert (target["eligible_count"], target["shortfall"], target["eligible_agent_ids"]) == (1, 1, ["agent-1"])
    assert listed(world)[0]["eligible_agents"] == 1

    world.clock.now += timedelta(hours=2, minutes=6)
    assert reconcile(world)["targets"][0]["eligible_count"] == 0


def test_a_reconciliation_that_cannot_read_every_pool_is_answered_503(world: World, failing: Failing) -> None:
    aim(world, 1)
    world.ports.pools.change(ID, lambda pool: replace(pool, node_size="huge"))
    body = reconcile(world, dispatch=True)
    assert body["targets"][0]["in_flight"] == 1

    failing(world.ports.store, "get_many", Unavailable("The store does not answer."))

    assert refused(world.post(RECONCILE, {}, ADMIN), 503)
