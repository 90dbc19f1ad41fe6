"""The sweep's work on pools, and its interruptions."""

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.accounts import NOBODY
from functions.engine.pools import Pools
from shared.domain.order import State
from tests.functions.capacity.accounts import configure
from tests.functions.capacity.pools import (
    DATACENTER,
    ID,
    LANE,
    POOL,
    TARGETS,
    aim,
    alive,
    answer,
    fail,
    listed,
    orders,
    reconcile,
    run,
    swept,
)
from tests.functions.world import ADMIN, World
from tests.threads import at_once


def test_the_sweep_fills_pools(world: World) -> None:
    aim(world, 2)
    done = world.sweep()
    assert (done["pools"], done["created"], done["released"]) == (1, 2, 0)
    assert [order.state for order in orders(world)] == [State.QUEUED] * 2


def test_the_sweep_creates_missing_orders_once_and_rings_for_them(world: World) -> None:
    aim(world, 2, reason="tests", attestation="required")
    assert swept(world) == {"pools": 1, "created": 2, "released": 0}
    assert swept(world)["created"] == 0
    placed = orders(world)
    assert len(placed) == 2
    for order in placed:
        assert (order.account, order.lane, order.limits.boot_seconds) == (NOBODY, LANE, 1800)
        assert order.spec.model_dump() == {"kind": "capacity", **POOL, "attestation": "required", "purpose": "tests"}
    assert sorted(world.bells.rung) == sorted(order.id for order in placed)
    assert listed(world)[0]["open_reservations"] == 2


@pytest.mark.parametrize("fields", [{"enabled": False}, {"dispatch": False}])
def test_the_sweep_leaves_a_pool_alone_that_is_disabled_or_not_dispatched(
    world: World, fields: dict[str, bool]
) -> None:
    aim(world, 2, **fields)
    assert swept(world).get("created", 0) == 0
    assert listed(world)[0]["shortfall"] == 2


def test_a_machine_that_runs_is_not_ordered_again_before_its_agent_has_registered(world: World) -> None:
    aim(world, 2, require_verified=True)
    swept(world)
    for order in orders(world):
        run(world, order)
    for _ in range(10):
        assert swept(world)["created"] == 0
        done = reconcile(world, dispatch=True)
        assert (done["total_shortfall"], done["targets"][0]["in_flight"]) == (2, 0)
        (waits,) = done["dispatches"]
        assert (waits["dispatched"], waits["status_code"]) == (False, 200)
    assert len(orders(world)) == 2


def test_a_machine_that_failed_is_replaced_after_a_wait(world: World) -> None:
    aim(world, 1)
    swept(world)
    (order,) = orders(world)
    fail(world, order)
    assert swept(world)["created"] == 1
    (again,) = alive(world)
    assert again.id != order.id
    assert again.available_at > world.clock.now
    assert again.id not in world.bells.rung


def test_surplus_is_released_and_machines_that_cannot_be_stopped_are_counted_and_kept(world: World) -> None:
    aim(world, 4)
    swept(world)
    attended, unattended, waiting, taken = orders(world)
    run(world, attended)
    run(world, unattended, attended=False)
    world.claim(taken.id, lanes=[LANE], attended=False)

    aim(world, 0)
    assert swept(world) == {"pools": 1, "created": 0, "released": 2}

    assert world.order(attended.id).cancel_requested_at is not None
    assert world.order(waiting.id).state is State.CANCELLED
    assert world.order(unattended.id).cancel_requested_at is None
    assert world.order(taken.id).cancel_requested_at is None
    assert listed(world)[0]["surplus"] == 2
    assert [one["order_id"] for one in world.heartbeat((attended.id, 1))["stop"]] == [attended.id]


def test_many_sweeps_at_once_create_one_order_for_each_slot(world: World) -> None:
    aim(world, 20)
    at_once([lambda: swept(world)] * 6)
    assert len(orders(world)) == 20
    aim(world, 5)
    at_once([lambda: swept(world)] * 6)
    assert len(alive(world)) == 5
    assert swept(world)["created"] == 0


def test_a_sweep_that_read_the_pool_before_a_change_does_not_undo_the_change(world: World) -> None:
    aim(world, 2)
    before = world.ports.pools.get(ID)
    assert before is not None
    aim(world, 1, reason="less")
    world.service(Pools).reconcile(before)
    assert len(alive(world)) == 1
    assert (listed(world)[0]["min_warm_count"], listed(world)[0]["reason"]) == (1, "less")

    fail(world, alive(world)[0])
    before = world.ports.pools.get(ID)
    assert before is not None
    answer(world.delete(f"{TARGETS}?datacenter={DATACENTER}&node_size=tiny", ADMIN))
    world.service(Pools).reconcile(before)
    assert alive(world) == []
    assert listed(world) == []


def test_one_bad_pool_does_not_stop_others_from_being_filled(world: World) -> None:
    aim(world, 1)
    world.ports.pools.change(ID, lambda pool: replace(pool, node_size="huge"))
    aim(world, 1, node_size="llm")
    assert swept(world)["created"] == 1
    assert [order.lane for order in orders(world)] == ["gcp:us-central1-a/capacity/llm"]


def test_if_there_are_more_pools_than_one_sweep_reconciles_each_is_reached_in_time(world: World) -> None:
    for number in range(12):
        aim(world, 1, datacenter=f"gcp:zone-{number}")
    for _ in range(60):
        assert swept(world, limit=3)["pools"] == 3
        world.clock.now += timedelta(seconds=30)
    assert len(orders(world)) == 12


def test_the_default_pool_is_created_once_if_it_is_enabled(world: World) -> None:
    assert swept(world) == {}
    configure(world, default_pool=True)
    assert swept(world)["created"] == 1
    (target,) = listed(world)
    assert (target["min_warm_count"], target["enabled"], target["dispatch"]) == (1, True, True)
    answer(world.delete(f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny", ADMIN))
    swept(world)
    assert listed(world) == []
