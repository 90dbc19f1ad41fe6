"""The sweep replaces the machines of lost agents, and forgets proofs that have expired."""

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.refusals import Unavailable
from functions.engine.attestation import SpentProofs
from functions.engine.lost_agents import LOST_AFTER, LostAgents
from shared.domain.order import Reason, State
from tests.functions.capacity.agents import attended, beat, fulfilled, listed, registered
from tests.functions.world import World
from tests.meanwhile import Failing, Hanging, Meanwhile


def swept_agents(world: World, limit: int = 100) -> int:
    return world.service(LostAgents).replace_lost(limit)


def test_the_machine_of_a_lost_agent_is_replaced(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)
    registered(world)
    world.clock.now += LOST_AFTER
    assert swept_agents(world) == 0
    assert world.order(order_id).state is State.RUNNING

    world.clock.now += timedelta(seconds=1)

    assert swept_agents(world) == 1
    assert (world.order(order_id).state, world.order(order_id).reason) == (State.QUEUED, Reason.AGENT_LOST)
    assert listed(world) == []
    assert swept_agents(world) == 0


def test_an_agent_that_sends_heartbeats_is_not_lost(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)
    agent_id = registered(world)
    for _ in range(5):
        world.clock.now += timedelta(hours=1)
        beat(world, agent_id)
        assert swept_agents(world) == 0

    assert world.order(order_id).state is State.RUNNING


def test_an_agent_that_sends_a_heartbeat_while_the_sweep_runs_is_not_lost(
    world: World, worker: str, meanwhile: Meanwhile
) -> None:
    order_id = fulfilled(world, worker)
    agent_id = registered(world)
    world.clock.now += LOST_AFTER + timedelta(seconds=1)
    meanwhile(world.ports.agents, "page", lambda: beat(world, agent_id), after=True)

    assert swept_agents(world) == 0
    assert listed(world) == ["vm-1"]
    assert world.order(order_id).state is State.RUNNING


def test_an_agent_that_sends_a_heartbeat_in_the_last_moment_is_kept(world: World, meanwhile: Meanwhile) -> None:
    agent_id = registered(world)
    world.clock.now += LOST_AFTER + timedelta(seconds=1)
    meanwhile(world.ports.agents, "take", lambda: beat(world, agent_id))

    assert swept_agents(world) == 0
    assert listed(world) == ["vm-1"]


def test_the_machine_of_a_lost_agent_is_left_to_a_launcher_that_sends_heartbeats(world: World) -> None:
    order_id = attended(world)
    until = world.clock.now + LOST_AFTER + timedelta(seconds=1)
    while world.clock.now < until:
        world.clock.now += timedelta(seconds=50)
        world.heartbeat((order_id, 1))

    assert swept_agents(world) == 0
    assert world.order(order_id).state is State.RUNNING


def test_silent_agents_that_are_left_to_their_launchers_hide_no_lost_one(world: World, worker: str) -> None:
    kept = [attended(world, f"vm-{number}") for number in range(3)]
    world.clock.now += timedelta(seconds=1)
    lost = fulfilled(world, worker, "vm-3")
    registered(world, vm_name="vm-3")
    until = world.clock.now + LOST_AFTER + timedelta(seconds=1)
    while world.clock.now < until:
        world.clock.now += timedelta(seconds=50)
        world.heartbeat(*((order_id, 1) for order_id in kept))

    assert swept_agents(world, limit=1) == 1
    assert world.order(lost).state is State.QUEUED
    assert [world.order(order_id).state for order_id in kept] == [State.RUNNING] * 3


def test_a_lost_agent_does_not_change_an_order_that_has_moved_on(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)
    registered(world)
    order = world.order(order_id)
    assert order.agent is not None
    world.ports.agents.change("vm-1", lambda one: replace(one, epoch=0))
    world.clock.now += LOST_AFTER + timedelta(seconds=1)

    assert swept_agents(world) == 1
    assert world.order(order_id) == order


def test_a_lost_agent_whose_order_cannot_be_read_does_not_stop_others_from_being_replaced(
    world: World, worker: str, failing: Failing
) -> None:
    orders = [fulfilled(world, worker, f"vm-{number}") for number in range(2)]
    for number in range(2):
        registered(world, vm_name=f"vm-{number}")
    world.clock.now += LOST_AFTER + timedelta(seconds=1)
    failing(world.ports.store, "get", Unavailable("The store does not answer."), only=orders[0])

    assert swept_agents(world) == 1
    assert world.ports.store.get(orders[1]).state is State.QUEUED


@pytest.mark.parametrize(("stuck", "name"), [("spent_proofs", "id"), ("agents", "vm_name")])
def test_a_record_that_the_store_does_not_answer_for_keeps_the_sweep_from_nothing_else(
    world: World, hanging: Hanging, stuck: str, name: str
) -> None:
    for number in range(3):
        registered(world, vm_name=f"vm-{number}")
    records = getattr(world.ports, stuck)
    hanging(records, "take", only=getattr(records.all(1)[0], name))
    world.clock.now += LOST_AFTER + timedelta(seconds=1)

    assert world.sweep()["records_forgotten"] == 5


def test_spent_proofs_are_forgotten_once_they_have_expired(world: World) -> None:
    for number in range(3):
        registered(world, vm_name=f"vm-{number}")
    world.clock.now += timedelta(minutes=6)
    registered(world, vm_name="vm-3")

    proofs = world.service(SpentProofs)
    assert (proofs.forget(1), proofs.forget(100), proofs.forget(100)) == (1, 2, 0)
    assert len(world.ports.spent_proofs.all(10)) == 1
