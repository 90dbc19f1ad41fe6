"""Only proof makes an agent that of an order which demands attestation. A name moves nothing, and denies nobody."""

import base64
import hashlib
import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from pydantic import TypeAdapter
from werkzeug.test import TestResponse

from emulators.fakes.tdx_quote import TdxQuote
from functions.domain import request_ids
from functions.domain.agents import Agent
from functions.domain.events import Register
from functions.engine.agents import Agents
from functions.engine.attestation import binding_of
from functions.engine.lost_agents import LOST_AFTER, LostAgents
from functions.engine.pools import Pools
from functions.engine.trust import Image, Nonces
from shared.domain.order import Reason, State
from tests.functions.capacity.agents import (
    AGENT_KEY,
    ATTESTED,
    OTHER_KEY,
    RACK,
    REGISTER,
    agent,
    attested,
    beat,
    bootstrap,
    bound_quote,
    claimed,
    evidence,
    fulfilled,
    listed,
    nonce,
    quote_only,
    refused,
    register,
    registered,
    registration,
    report,
    trusting,
)
from tests.functions.world import ADMIN, MRTD, World
from tests.threads import at_once

OTHER_MRTD = b"\x92" * 48


def provisioning(world: World, worker: str, vm_name: str = "ee-x") -> tuple[str, str]:
    """Return the id and bootstrap token of an attested order whose launcher has named its machine."""
    order_id, token = claimed(world, worker, ATTESTED)
    report(world, worker, order_id, "provisioning", vm_name)
    return order_id, token


def trusting_another_image(world: World) -> None:
    trusting(world, images=[Image(MRTD.hex(), "agent"), Image(OTHER_MRTD.hex(), "agent")])


# A name


def test_who_registers_under_its_machines_name_does_not_fulfil_an_attested_order(world: World, worker: str) -> None:
    order_id, token = provisioning(world, worker)
    trusting_another_image(world)

    stranger = registered(world, vm_name="ee-x", attestation=evidence(world, TdxQuote(OTHER_MRTD)))

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.PROVISIONING, None)
    real = registered(world, **attested(world, order_id, token, "ee-x"))
    assert real != stranger
    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, real)


def test_a_launchers_report_finds_no_agent_for_an_attested_order_by_name(world: World, worker: str) -> None:
    order_id, _ = claimed(world, worker, ATTESTED)
    registered(world, vm_name="ee-x")

    report(world, worker, order_id, "fulfilled", "ee-x")

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.PROVISIONING, None)


@pytest.mark.parametrize("squatted", [{"datacenter": "evil:x"}, {"node_size": "llm"}, {"mrtd": "another"}])
def test_a_name_that_was_taken_first_denies_nobody_with_a_bootstrap_token(
    world: World, worker: str, squatted: dict[str, str]
) -> None:
    trusting_another_image(world)
    if squatted.pop("mrtd", None):
        register(world, vm_name="ee-x", attestation=evidence(world, TdxQuote(OTHER_MRTD)))
    else:
        registered(world, vm_name="ee-x", **squatted)
    order_id, token = claimed(world, worker)

    agent_id = registered(world, vm_name="ee-x", **bootstrap(order_id, token))

    assert world.order(order_id).agent == agent_id


def test_the_holder_of_the_bootstrap_token_takes_an_order_from_who_got_it_by_name(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    report(world, worker, order_id, "fulfilled", "ee-x")
    squatter = registered(world, vm_name="ee-x")
    assert world.order(order_id).agent == squatter

    real = registered(world, vm_name="ee-x", **bootstrap(order_id, token))

    assert world.order(order_id).agent == real != squatter
    assert registered(world, vm_name="ee-x") == squatter
    assert world.order(order_id).agent == real


def test_a_record_is_not_taken_over_with_another_orders_bootstrap_token(world: World, worker: str) -> None:
    victims, token = claimed(world, worker, ATTESTED)
    attackers, other_token = claimed(world, worker, ATTESTED)
    victim = registered(world, **attested(world, victims, token, "victim-vm"))

    intruder = registered(world, **attested(world, attackers, other_token, "victim-vm", OTHER_KEY))

    assert intruder != victim
    assert world.order(victims).agent == victim
    beat(world, intruder, vm_name="victim-vm", attestation=evidence(world, bound_quote(world, token, "victim-vm")))
    stored = world.service(Agents).get(victim)
    assert (stored.order_id, stored.deployment_id) == (victims, None)
    world.delete(f"/api/v1/agents/{victim}", ADMIN)
    assert (world.order(victims).state, world.order(victims).reason) == (State.QUEUED, Reason.AGENT_LOST)
    assert world.order(attackers).state is State.RUNNING


def test_a_record_that_has_its_order_by_name_is_moved_by_no_other_launchers_report(world: World, worker: str) -> None:
    victims = fulfilled(world, worker, "victim-vm")
    registered(world, vm_name="victim-vm")
    attackers, _ = claimed(world, worker)

    report(world, worker, attackers, "fulfilled", "victim-vm")

    assert world.order(attackers).agent is None
    assert agent(world, "victim-vm").order_id == victims


def test_agents_that_earlier_versions_stored_by_name_go_on(world: World, worker: str) -> None:
    order_id, token = provisioning(world, worker)
    stored = Agent("agent-1", "ee-x", RACK.datacenter, "tiny", MRTD.hex(), "1", world.clock.now, world.clock.now)
    form = TypeAdapter(Agent)
    document = form.dump_python(replace(stored, order_id=order_id, epoch=1))
    del document["bootstrapped"], document["binding"]
    world.ports.agents.add("ee-x", form.validate_python(document))
    event = Register(request_ids.register_agent(1, "agent-1"), 1, "agent-1", "ee-x")
    world.ports.store.apply(order_id, event, world.clock.now)

    assert beat(world, "agent-1", vm_name="ee-x").status_code == 200
    again = registered(world, **attested(world, order_id, token, "ee-x"))
    assert world.order(order_id).agent == again


# The bootstrap token, and what the quote binds


@pytest.mark.parametrize("wrong", ["no binding", "another key", "another order's token", "more data"])
def test_the_quote_binds_the_bootstrap_token_and_the_key(world: World, worker: str, wrong: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    given = nonce(world)
    report_data = {
        "no binding": given,
        "another key": given + bytes.fromhex(binding_of(token, OTHER_KEY)),
        "another order's token": given + bytes.fromhex(binding_of("A" * 43, AGENT_KEY)),
        "more data": given + bytes.fromhex(binding_of(token, AGENT_KEY))[:-1] + b"\x01",
    }[wrong]

    sent = attested(world, order_id, token, attestation=evidence(world, TdxQuote(MRTD, report_data=report_data)))

    assert "does not bind" in refused(register(world, **sent), 403)
    assert world.order(order_id).agent is None


@pytest.mark.parametrize("key", [None, "", "no base64"])
def test_an_attested_order_needs_a_key(world: World, worker: str, key: str | None) -> None:
    order_id, token = claimed(world, worker, ATTESTED)

    assert "agent_key" in refused(register(world, **attested(world, order_id, token, agent_key=key)), 400)
    assert world.order(order_id).agent is None


def test_a_key_without_a_bootstrap_token_is_refused(world: World) -> None:
    assert "agent_key" in refused(register(world, agent_key="AAAA"), 400)


def test_another_machine_with_the_same_name_and_bootstrap_token_is_refused(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    agent_id = registered(world, **attested(world, order_id, token))

    again = register(world, **attested(world, order_id, token, key=OTHER_KEY))

    assert refused(again, 403) == "Invalid bootstrap token"
    assert listed(world) == ["vm-1"]
    assert registered(world, **attested(world, order_id, token)) == agent_id


def test_another_machine_with_the_same_name_and_bootstrap_token_gets_no_appraisal(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    registered(world, **attested(world, order_id, token))
    quote = quote_only(bound_quote(world, token, key=OTHER_KEY))

    refused(register(world, **attested(world, order_id, token, key=OTHER_KEY, attestation=quote)), 403)

    assert world.authority.asked.count("/appraisal/v1/attest") == 0


def test_of_many_machines_with_one_bootstrap_token_at_once_one_becomes_the_agent(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    bodies = [
        registration(world, **attested(world, order_id, token, key=f"key {number}".encode())) for number in range(6)
    ]

    answers = at_once([partial(world.post, REGISTER, body, "") for body in bodies])

    statuses = [answer.status_code for answer in answers if isinstance(answer, TestResponse)]
    accepted = [answer.get_json()["agent_id"] for answer in answers if answer.status_code == 200]  # type: ignore[union-attr]
    assert sorted(statuses) == [200, 403, 403, 403, 403, 403]
    assert accepted == [world.order(order_id).agent]
    assert world.service(Agents).get(accepted[0]).binding == binding_of(token, _key_of(bodies, answers))


def _key_of(bodies: Sequence[dict[str, object]], answers: Sequence[object]) -> bytes:
    """Return the key of the body that was accepted."""
    (body,) = (
        body
        for body, answer in zip(bodies, answers, strict=True)
        if isinstance(answer, TestResponse) and answer.status_code == 200
    )
    return base64.b64decode(str(body["agent_key"]))


@pytest.mark.parametrize("wrong", ["no nonce", "no binding", "another key", "old"])
def test_a_heartbeat_binds_the_same_key_with_a_fresh_nonce(world: World, worker: str, wrong: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    agent_id = registered(world, **attested(world, order_id, token))
    quotes = {
        "no nonce": TdxQuote(MRTD, report_data=bytes(16) + bytes.fromhex(binding_of(token, AGENT_KEY))),
        "no binding": TdxQuote(MRTD, report_data=nonce(world)),
        "another key": bound_quote(world, token, key=OTHER_KEY),
        "old": bound_quote(world, token),
    }
    world.clock.now += timedelta(minutes=5 if wrong == "old" else 0)

    answer = beat(world, agent_id, attestation=quote_only(quotes[wrong]))

    refused(answer, 400 if wrong == "no nonce" else 403)

    assert world.service(Agents).get(agent_id).status == "undeployed"
    fresh = evidence(world, bound_quote(world, token))
    assert beat(world, agent_id, attestation=fresh).status_code == 200


def test_a_lost_agent_with_a_bootstrap_token_is_replaced(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    registered(world, **attested(world, order_id, token))
    world.clock.now += LOST_AFTER + timedelta(seconds=1)

    assert world.service(LostAgents).replace_lost(10) == 1

    assert world.order(order_id).state is State.QUEUED
    assert world.ports.agents.all(10) == []


# Each token once, and nonces


@pytest.mark.parametrize("spec", [RACK, ATTESTED])
@pytest.mark.parametrize("mode", Nonces)
def test_one_token_with_five_names_fulfils_one_of_five_orders(
    world: World, worker: str, mode: Nonces, spec: object
) -> None:
    trusting(world, nonces=mode)
    orders = [claimed(world, worker, spec) for _ in range(5)]  # type: ignore[arg-type]
    first = attested(world, *orders[0], vm_name="vm-0")
    if spec is RACK:
        del first["agent_key"]

    for number, (order_id, token) in enumerate(orders):
        register(world, **{**first, "vm_name": f"vm-{number}", **bootstrap(order_id, token)})

    states = [world.order(order_id).agent is not None for order_id, _ in orders]
    assert states == [True, False, False, False, False]


@pytest.mark.parametrize("mode", [Nonces.OPTIONAL, Nonces.DISABLED])
def test_evidence_without_a_nonce_counts_for_one_name(world: World, mode: Nonces) -> None:
    trusting(world, nonces=mode)
    once = evidence(world)
    agent_id = registered(world, vm_name="vm-1", attestation=once)

    assert "used before" in refused(register(world, vm_name="vm-2", attestation=once), 403)
    assert registered(world, vm_name="vm-1", attestation=once) == agent_id


def test_a_token_counts_for_one_name_however_it_is_written(world: World) -> None:
    """The last digit of a signature of 256 bytes in base64 has four bits that lenient decoders do not read. Padding
    belongs to base64, and not to a token.
    """
    once = evidence(world)
    registered(world, vm_name="vm-1", attestation=once)
    token: str = once["tdx"]["intel_ta_token"]

    digits = f"{string.ascii_letters}{string.digits}-_"
    for spelling in (*(token[:-1] + digit for digit in digits), f"{token}=", f"{token}=="):
        other = {"tdx": {**once["tdx"], "intel_ta_token": spelling}}
        assert register(world, vm_name="vm-2", attestation=other).status_code in (400, 403)


def test_a_quote_counts_for_one_name_however_it_is_written(world: World, worker: str) -> None:
    """The last digit of 700 bytes in base64 has four bits that no decoder reads."""
    quote: str = quote_only()["tdx"]["quote_b64"]
    assert quote.endswith("A==")
    registered(world, vm_name="vm-1", attestation=quote_only(), **bootstrap(*claimed(world, worker)))

    for digit in "BCDP":
        other = {"tdx": {"quote_b64": f"{quote[:-3]}{digit}==", "measurements": None}}
        again = register(world, vm_name="vm-2", attestation=other, **bootstrap(*claimed(world, worker)))
        assert "used before" in refused(again, 403)


def test_evidence_is_spent_under_the_name_that_every_earlier_version_gave_it(world: World, worker: str) -> None:
    """So what was spent before a roll-out cannot be used after it, and a repeat during one is known as such."""
    token, quote = evidence(world), quote_only()
    registered(world, vm_name="vm-1", attestation=token)
    registered(world, vm_name="vm-2", attestation=quote, **bootstrap(*claimed(world, worker)))

    for text in (token["tdx"]["intel_ta_token"], quote["tdx"]["quote_b64"]):
        assert world.ports.spent_proofs.get(f"evidence\n{hashlib.sha256(text.encode()).hexdigest()}") is not None


@pytest.mark.parametrize("mode", Nonces)
def test_an_attested_order_always_needs_a_nonce(world: World, worker: str, mode: Nonces) -> None:
    trusting(world, nonces=mode)
    order_id, token = claimed(world, worker, ATTESTED)
    quote = TdxQuote(MRTD, report_data=bytes(16) + bytes.fromhex(binding_of(token, AGENT_KEY)))
    sent = attested(world, order_id, token, attestation=evidence(world, quote))

    assert "nonce is required" in refused(register(world, **sent), 400)
    assert world.order(order_id).agent is None


def test_asking_for_challenges_in_its_name_breaks_no_registration(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    given = nonce(world)
    for _ in range(100):
        nonce(world)

    registered(world, attestation=evidence(world, TdxQuote(MRTD, report_data=given)))


def test_an_agent_that_uses_no_nonce_registers_though_another_asked_in_its_name(world: World) -> None:
    nonce(world)

    registered(world)


def test_no_challenge_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("add", "change", "upsert"):
        monkeypatch.delattr(type(world.ports.spent_proofs), method)

    assert len({nonce(world) for _ in range(100)}) == 100


def test_a_nonce_that_was_not_issued_here_or_for_another_name_is_refused(world: World) -> None:
    given = nonce(world)
    forged = given[:-1] + bytes([given[-1] ^ 1])
    later = (int.from_bytes(given[:4], "big") + 1).to_bytes(4, "big") + given[4:]

    for wrong in (forged, later, nonce(world, "vm-2"), b"\x05" * 16):
        quote = TdxQuote(MRTD, report_data=wrong)
        assert "nonce" in refused(register(world, attestation=evidence(world, quote)), 403)


def test_another_quote_with_the_same_nonce_is_refused(world: World) -> None:
    given = nonce(world)
    registered(world, attestation=evidence(world, TdxQuote(MRTD, report_data=given)))

    again = register(world, attestation=evidence(world, TdxQuote(MRTD, report_data=given)))

    assert refused(again, 403) == "The nonce was used before."


# Many agents


def test_many_agents_of_a_datacenter_hide_none_that_a_pool_counts(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"datacenter": RACK.datacenter, "node_size": "tiny", "min_warm_count": 1, "dispatch": True}
    for number in range(3):
        registered(world, vm_name=f"flood-{number}")
    answer = world.http.put(
        "/api/v1/admin/agents/capacity/targets", json=body, headers={"Authorization": f"Bearer {ADMIN}"}
    )
    assert answer.status_code == 200
    world.service(Pools).sweep(10)
    claimed_order = world.post("/api/v1/launchers/capacity/orders/claim", {}, worker).get_json()
    agent_id = registered(
        world, vm_name="vm", **bootstrap(claimed_order["order"]["order_id"], claimed_order["bootstrap_token"])
    )
    monkeypatch.setattr("functions.engine.record_pages.READ_AT_ONCE", 2)

    goal = {"datacenter": RACK.datacenter, "node_size": "tiny", "min_count": 1}
    status = world.post("/api/v1/admin/agents/capacity/reconcile", {"targets": [goal]}, ADMIN).get_json()

    assert [one["eligible_agent_ids"] for one in status["targets"]] == [[agent_id]]


def test_many_agents_hide_none_whose_name_an_operator_asks_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flood-1", "flood-2", "flood-3", "ee-x"):
        registered(world, vm_name=name)
    monkeypatch.setattr("functions.engine.record_pages.READ_AT_ONCE", 2)

    found = world.get("/api/v1/agents?vm_name=ee-x", ADMIN).get_json()

    assert [one["vm_name"] for one in found["agents"]] == ["ee-x"]


def test_the_total_of_a_list_of_agents_counts_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        registered(world, vm_name=f"vm-{number}")
    monkeypatch.setattr("functions.engine.record_pages.READ_AT_ONCE", 2)

    assert world.get("/api/v1/agents", ADMIN).get_json()["total"] == 3
