"""Which order an agent's machine belongs to: by bootstrap token, or by the machine's name."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import NoReturn
from uuid import uuid4

import pytest

from functions.domain.refusals import Unavailable
from shared.domain.order import State
from tests.functions.capacity.agents import (
    ATTESTED,
    CLAIM,
    RACK,
    REGISTER,
    agent,
    attested,
    bootstrap,
    bound_quote,
    claimed,
    evidence,
    fulfilled,
    listed,
    quote_only,
    refused,
    register,
    registered,
    registration,
    report,
)
from tests.functions.world import World
from tests.meanwhile import Meanwhile
from tests.threads import at_once


def test_a_bootstrap_token_identifies_the_order_of_a_machine_with_any_name(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    report(world, worker, order_id, "provisioning", "tdvirsh-trust_domain_verity-5e")

    agent_id = registered(world, **attested(world, order_id, token, "the-guests-own-host-name"))

    order = world.order(order_id)
    assert (order.state, order.agent, order.vm) == (State.RUNNING, agent_id, "tdvirsh-trust_domain_verity-5e")


def test_if_attestation_is_required_the_workers_report_ends_provisioning_and_the_agents_registration_fulfils(
    world: World, worker: str
) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    report(world, worker, order_id, "fulfilled", "vm-1")
    assert world.order(order_id).state is State.PROVISIONING

    registered(world, **attested(world, order_id, token))

    assert world.order(order_id).state is State.RUNNING


def test_the_launcher_names_the_machine_also_if_its_agent_was_faster(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    agent_id = registered(world, vm_name="guest", **bootstrap(order_id, token))
    assert (world.order(order_id).state, world.order(order_id).vm) == (State.RUNNING, "guest")

    report(world, worker, order_id, "fulfilled", "tdvirsh-1")

    order = world.order(order_id)
    assert (order.state, order.vm, order.agent) == (State.RUNNING, "tdvirsh-1", agent_id)
    assert registered(world, vm_name="guest", **bootstrap(order_id, token)) == agent_id


def test_an_agent_may_register_while_its_launcher_reports(world: World, worker: str, meanwhile: Meanwhile) -> None:
    order_id, token = claimed(world, worker)
    meanwhile(world.ports.store, "apply", lambda: registered(world, vm_name="guest", **bootstrap(order_id, token)))

    report(world, worker, order_id, "fulfilled", "tdvirsh-1")

    assert (world.order(order_id).state, world.order(order_id).vm) == (State.RUNNING, "tdvirsh-1")


def test_without_a_token_the_machines_name_identifies_the_order(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)

    agent_id = registered(world)

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, agent_id)


@pytest.mark.parametrize("changes", [{"vm_name": "vm-2"}, {"datacenter": "gcp:us-central1-a"}, {"node_size": "llm"}])
def test_a_machine_of_another_name_datacenter_or_size_is_not_that_orders(
    world: World, worker: str, changes: dict[str, str]
) -> None:
    order_id = fulfilled(world, worker)

    registered(world, **changes)

    assert world.order(order_id).agent is None


def test_the_order_is_found_among_many(world: World, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = world.ports.store.page
    monkeypatch.setattr(world.ports.store, "page", lambda query: page(replace(query, limit=2)))
    orders = [fulfilled(world, worker, f"vm-{number}") for number in range(5)]

    agent_id = registered(world, vm_name="vm-4")

    assert [world.order(order_id).agent for order_id in orders] == [None, None, None, None, agent_id]


def test_an_agent_that_was_faster_than_its_launchers_report_is_associated_afterwards(world: World, worker: str) -> None:
    order_id, _ = claimed(world, worker)
    agent_id = registered(world)

    report(world, worker, order_id, "fulfilled", "vm-1")

    order = world.order(order_id)
    assert (order.state, order.agent) == (State.RUNNING, agent_id)
    assert agent(world).order_id == order_id


def test_an_agent_that_registered_before_an_expired_workers_report_fulfils_the_order_that_is_given_back(
    world: World, worker: str
) -> None:
    order_id, _ = claimed(world, worker)
    agent_id = registered(world)
    world.clock.now += timedelta(minutes=11)
    world.sweep()
    assert world.order(order_id).state is State.QUEUED

    report(world, worker, order_id, "fulfilled", "vm-1")

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, agent_id)


def test_an_agent_from_before_the_claim_is_in_another_machine(world: World, worker: str) -> None:
    registered(world)
    world.clock.now += timedelta(seconds=1)
    order_id, _ = claimed(world, worker)

    report(world, worker, order_id, "fulfilled", "vm-1")

    assert world.order(order_id).agent is None


def wrong_tokens(world: World, order_id: str, token: str) -> dict[str, dict[str, str]]:
    return {
        "another token": bootstrap(order_id, "A" * 43),
        "the callback token": bootstrap(order_id, world.ports.tokens.issue(order_id, 1)),
        "another epoch's": bootstrap(order_id, world.ports.tokens.bootstrap(order_id, 2)),
        "another order's": bootstrap(str(uuid4()), token),
    }


@pytest.mark.parametrize("which", ["another token", "the callback token", "another epoch's", "another order's"])
@pytest.mark.parametrize("own_token", [True, False])
def test_a_wrong_bootstrap_token_is_refused_with_the_contracts_text(
    world: World, worker: str, which: str, own_token: bool
) -> None:
    order_id, token = claimed(world, worker)
    pair = wrong_tokens(world, order_id, token)[which]
    attestation = evidence(world) if own_token else quote_only()

    assert refused(register(world, attestation=attestation, **pair), 403) == "Invalid bootstrap token"
    assert world.authority.asked.count("/appraisal/v1/attest") == 0


def test_a_bootstrap_token_is_valid_for_one_agent(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    agent_id = registered(world, **bootstrap(order_id, token))

    refused(register(world, vm_name="vm-2", **bootstrap(order_id, token)), 403)
    assert listed(world) == ["vm-1"]
    assert registered(world, **bootstrap(order_id, token)) == agent_id
    assert world.order(order_id).agent == agent_id


def test_of_many_that_use_one_bootstrap_token_at_once_one_becomes_the_agent(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    bodies = [registration(world, vm_name=f"vm-{number}", **bootstrap(order_id, token)) for number in range(6)]

    answers = at_once([partial(world.post, REGISTER, body, "") for body in bodies])

    accepted = [answer.get_json()["agent_id"] for answer in answers if answer.status_code == 200]  # type: ignore[union-attr]
    assert accepted == [world.order(order_id).agent]


def test_an_agent_whose_bootstrap_token_another_uses_meanwhile_is_refused(
    world: World, worker: str, meanwhile: Meanwhile
) -> None:
    order_id, token = claimed(world, worker)
    meanwhile(world.ports.store, "apply", lambda: registered(world, vm_name="vm-1", **bootstrap(order_id, token)))

    assert refused(register(world, vm_name="vm-2", **bootstrap(order_id, token)), 403) == "Invalid bootstrap token"

    assert world.order(order_id).agent == agent(world, "vm-1").id


def test_a_bootstrap_token_is_invalid_once_the_order_was_queued_again(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    world.clock.now += timedelta(seconds=606)
    world.sweep()
    assert world.order(order_id).state is State.QUEUED
    refused(register(world, **bootstrap(order_id, token)), 403)

    world.clock.now += timedelta(minutes=1)
    assert world.post(CLAIM, {}, worker).get_json()["claimed"]

    assert refused(register(world, **bootstrap(order_id, token)), 403) == "Invalid bootstrap token"


@pytest.mark.parametrize("alone", ["bootstrap_order_id", "bootstrap_token"])
def test_half_a_bootstrap_token_is_refused(world: World, worker: str, alone: str) -> None:
    pair = bootstrap(*claimed(world, worker))

    assert "belong together" in refused(register(world, **{alone: pair[alone]}), 400)


def test_empty_bootstrap_fields_count_as_absent(world: World) -> None:
    registered(world, bootstrap_order_id="", bootstrap_token=None)


def test_the_control_plane_has_the_quote_appraised_for_an_agent_with_a_bootstrap_token(
    world: World, worker: str
) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    quote = quote_only(bound_quote(world, token))

    agent_id = registered(world, **attested(world, order_id, token, attestation=quote))

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, agent_id)
    assert world.authority.asked.count("/appraisal/v1/attest") == 1


def test_the_control_plane_has_no_quote_appraised_without_a_bootstrap_token(world: World) -> None:
    assert "intel_ta_token is missing" in refused(register(world, attestation=quote_only()), 400)
    assert world.authority.asked == []


def test_a_used_bootstrap_token_gets_another_machine_no_appraisal(world: World, worker: str) -> None:
    pair = bootstrap(*claimed(world, worker))
    agent_id = registered(world, attestation=quote_only(), **pair)

    refused(register(world, vm_name="vm-2", attestation=quote_only(), **pair), 403)
    assert world.authority.asked.count("/appraisal/v1/attest") == 1
    assert registered(world, attestation=quote_only(), **pair) == agent_id


@pytest.mark.parametrize(("quote_b64", "status"), [("!", 400), ("é", 400), ("AAAA", 403)])
def test_an_invalid_quote_is_refused(world: World, worker: str, quote_b64: str, status: int) -> None:
    pair = bootstrap(*claimed(world, worker))

    refused(register(world, attestation={"tdx": {"quote_b64": quote_b64}}, **pair), status)


def test_while_intel_does_not_answer_an_agent_is_asked_to_try_again(world: World, worker: str) -> None:
    pair = bootstrap(*claimed(world, worker))
    world.authority.away = True

    refused(register(world), 503)
    refused(register(world, attestation=quote_only(), **pair), 503)


def test_a_registration_that_was_cut_short_is_completed_by_a_repeat(
    world: World, worker: str, meanwhile: Meanwhile
) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    body = registration(world, **attested(world, order_id, token))

    def no_answer() -> NoReturn:
        raise Unavailable("The store does not answer.")

    meanwhile(world.ports.store, "apply", no_answer)
    refused(world.post(REGISTER, body, ""), 503)
    assert world.order(order_id).agent is None

    answer = world.post(REGISTER, body, "")

    assert answer.status_code == 200
    assert world.order(order_id).agent == answer.get_json()["agent_id"] == agent(world).id


def test_if_attestation_is_required_a_worker_that_reports_started_is_refused_with_what_is_missing(world: World) -> None:
    order_id = world.place(ATTESTED)["id"]
    assert world.claim(order_id, lanes=[f"{RACK.datacenter}/capacity/tiny"]) is not None

    early = world.call_back(order_id, "started")
    assert early.status_code == 409
    assert "an agent in its machine must register" in early.get_json()["detail"]

    registered(world, **attested(world, order_id, world.ports.tokens.bootstrap(order_id, 1)))

    answer = world.call_back(order_id, "started")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "running")
