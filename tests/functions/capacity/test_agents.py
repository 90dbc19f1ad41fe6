"""The capacity contract's agents, section 9: heartbeats, and what operators do with agents."""

from datetime import timedelta
from uuid import uuid4

import pytest

from emulators.fakes.tdx_quote import TdxQuote
from functions.engine.trust import Image, Nonces
from shared.domain.order import Reason, State
from tests.functions.capacity.agents import (
    agent,
    attended,
    beat,
    bootstrap,
    claimed,
    evidence,
    fulfilled,
    listed,
    nonce,
    quote_only,
    refused,
    registered,
    trusting,
    with_nonce,
)
from tests.functions.world import ADMIN, CLIENT, MRTD, World


def test_a_heartbeat_updates_the_agents_status(world: World) -> None:
    agent_id = registered(world)
    world.clock.now += timedelta(hours=1)

    answer = beat(world, agent_id)

    assert (answer.status_code, answer.get_json()) == (200, {"status": "ok", "agent_id": agent_id})
    stored = agent(world)
    assert (stored.status, stored.deployment_id, stored.last_seen_at) == ("deployed", "d-1", world.clock.now)


def test_a_field_that_a_heartbeat_leaves_out_keeps_its_value(world: World) -> None:
    agent_id = registered(world)
    beat(world, agent_id)

    body = {"vm_name": "vm-1", "attestation": evidence(world), "status": None}
    assert world.post(f"/api/v1/agents/{agent_id}/heartbeat", body, "").status_code == 200
    assert (agent(world).status, agent(world).deployment_id) == ("deployed", "d-1")

    beat(world, agent_id, deployment_id=None)
    assert agent(world).deployment_id is None


def test_a_heartbeat_of_an_unknown_agent_is_404(world: World) -> None:
    for agent_id in (str(uuid4()), "a b", "challenge"):
        assert refused(beat(world, agent_id), 404) == "Agent not found"


def test_each_heartbeat_proves_the_machine_again(world: World) -> None:
    trusting(world, images=[Image(MRTD.hex(), "agent"), Image("92" * 48, "agent")])
    agent_id = registered(world)
    old = evidence(world)
    world.clock.now += timedelta(hours=1)

    refused(beat(world, agent_id, attestation=old), 403)
    assert "MRTD" in refused(beat(world, agent_id, attestation=evidence(world, TdxQuote(b"\x92" * 48))), 403)
    assert "vm_name" in refused(beat(world, agent_id, vm_name="vm-2"), 403)
    world.authority.tcb_status = "OutOfDate"
    refused(beat(world, agent_id), 403)
    assert agent(world).last_seen_at == world.clock.now - timedelta(hours=1)


@pytest.mark.parametrize("missing", ["attestation", "vm_name"])
def test_a_heartbeat_without_its_evidence_or_name_is_400(world: World, missing: str) -> None:
    agent_id = registered(world)
    body = {"vm_name": "vm-1", "attestation": evidence(world)}
    del body[missing]

    assert missing in refused(world.post(f"/api/v1/agents/{agent_id}/heartbeat", body, ""), 400)


def test_no_nonce_is_demanded_of_a_heartbeat(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    agent_id = registered(world, attestation=with_nonce(world, nonce(world)))
    nonce(world)

    assert beat(world, agent_id).status_code == 200


def test_an_agent_whose_quote_was_appraised_here_beats_with_its_quote(world: World, worker: str) -> None:
    agent_id = registered(world, attestation=quote_only(), **bootstrap(*claimed(world, worker)))

    assert beat(world, agent_id, attestation=quote_only()).status_code == 200


def test_agents_are_listed_by_status_and_part_of_a_name(world: World) -> None:
    ids = [registered(world, vm_name=name) for name in ("rack-a", "rack-b", "attic")]
    beat(world, ids[1], vm_name="rack-b")

    assert sorted(listed(world)) == ["attic", "rack-a", "rack-b"]
    assert sorted(listed(world, "?vm_name=RACK")) == ["rack-a", "rack-b"]
    assert listed(world, "?vm_name=rack&status=deployed") == ["rack-b"]
    assert sorted(listed(world, "?status=undeployed")) == ["attic", "rack-a"]
    assert listed(world, "?status=gone") == []


def test_an_agent_is_listed_with_all_its_fields(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    agent_id = registered(world, **bootstrap(order_id, token))

    (one,) = world.get("/api/v1/agents", ADMIN).get_json()["agents"]

    assert one == {
        "agent_id": agent_id,
        "vm_name": "vm-1",
        "status": "undeployed",
        "deployment_id": None,
        "version": "1.0.0",
        "node_size": "tiny",
        "datacenter": "baremetal:rack-7",
        "hostname": None,
        "verified": True,
        "mrtd": MRTD.hex(),
        "order_id": order_id,
        "registered_at": "2026-11-22T12:00:00Z",
        "last_seen_at": "2026-11-22T12:00:00Z",
    }


@pytest.mark.parametrize("key", ["", CLIENT])
def test_listing_and_deleting_are_for_operators(world: World, key: str) -> None:
    agent_id = registered(world)

    assert world.get("/api/v1/agents", key).status_code == 401
    assert world.delete(f"/api/v1/agents/{agent_id}", key).status_code == 401
    assert listed(world) == ["vm-1"]


def test_a_deleted_agent_is_gone(world: World) -> None:
    agent_id = registered(world)

    answer = world.delete(f"/api/v1/agents/{agent_id}", ADMIN)

    assert (answer.status_code, answer.get_json()) == (200, {"status": "deleted", "agent_id": agent_id})
    assert refused(world.delete(f"/api/v1/agents/{agent_id}", ADMIN), 404) == "Agent not found"
    refused(beat(world, agent_id), 404)
    assert registered(world, node_size="standard") != agent_id


def test_the_machine_of_a_deleted_agent_is_replaced_if_its_launcher_sends_no_heartbeats(
    world: World, worker: str
) -> None:
    order_id = fulfilled(world, worker)
    agent_id = registered(world)

    world.delete(f"/api/v1/agents/{agent_id}", ADMIN)

    order = world.order(order_id)
    assert (order.state, order.reason, order.agent) == (State.QUEUED, Reason.AGENT_LOST, agent_id)


def test_the_machine_of_a_deleted_agent_is_left_to_a_launcher_that_sends_heartbeats(world: World) -> None:
    order_id = attended(world)

    world.delete(f"/api/v1/agents/{agent(world).id}", ADMIN)

    assert world.order(order_id).state is State.RUNNING
