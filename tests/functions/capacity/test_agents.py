"""The capacity contract's agents, section 9: challenge, registration, heartbeat; and what operators do with them."""

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from emulators.tdx_quote import TdxQuote
from functions.domain.accounts import AccountType
from functions.domain.agents import Agent
from functions.domain.events import AnyEvent
from functions.domain.order import Order
from functions.domain.refusals import Unavailable
from functions.engine.agents import LOST_AFTER, Agents
from functions.engine.attestation import Image, Nonces, Tcb, Verifier
from functions.ports import Snapshot
from shared.domain.order import Reason, State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize
from tests.functions.world import ADMIN, CLIENT, MRTD, World
from tests.threads import at_once

CHALLENGE: Final = "/api/v1/agents/challenge"
REGISTER: Final = "/api/v1/agents/register"
CLAIM: Final = "/api/v1/launchers/capacity/orders/claim"
RACK: Final = CapacitySpec(datacenter="baremetal:rack-7", node_size=NodeSize.TINY)
ATTESTED: Final = RACK.model_copy(update={"attestation": Attestation.REQUIRED})
GENUINE: Final = TdxQuote(MRTD)
HEX: Final = "0123456789abcdef"


@pytest.fixture
def worker(world: World) -> str:
    """A launcher account's key."""
    return world.admit(AccountType.LAUNCHER)[1]


def nonce(world: World, vm_name: str = "vm-1") -> bytes:
    answer = world.get(f"{CHALLENGE}?vm_name={vm_name}", "")
    assert answer.status_code == 200, answer.text
    return bytes.fromhex(answer.get_json()["nonce"])


def evidence(world: World, quote: TdxQuote = GENUINE, **token: Any) -> dict[str, Any]:
    """Return what an agent with a key of its own for Intel Trust Authority sends."""
    quote_b64 = base64.b64encode(quote.pack()).decode()
    appraised = world.authority.appraise(quote, **token)
    return {"tdx": {"quote_b64": quote_b64, "measurements": {"mrtd": "…"}, "intel_ta_token": appraised}}


def quote_only(quote: TdxQuote = GENUINE) -> dict[str, Any]:
    return {"tdx": {"quote_b64": base64.b64encode(quote.pack()).decode(), "measurements": None}}


def registration(world: World, **changes: Any) -> dict[str, Any]:
    body = {"vm_name": "vm-1", "version": "1.0.0", "node_size": "tiny", "datacenter": "baremetal:rack-7"}
    attestation = changes.pop("attestation", None) or evidence(world)
    return {"attestation": attestation, **body, **changes}


def register(world: World, **changes: Any) -> TestResponse:
    return world.post(REGISTER, registration(world, **changes), "")


def registered(world: World, **changes: Any) -> str:
    answer = register(world, **changes)
    assert answer.status_code == 200, answer.text
    agent_id: str = answer.get_json()["agent_id"]
    return agent_id


def refused(answer: TestResponse, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    detail: str = answer.get_json()["detail"]
    assert isinstance(detail, str)
    return detail


def claimed(world: World, worker: str, spec: CapacitySpec = RACK) -> tuple[str, str]:
    """Return the id of a new order that the contract's worker holds, and its bootstrap token."""
    order_id = world.place(spec)["id"]
    answer = world.post(CLAIM, {}, worker).get_json()
    assert answer["order"]["order_id"] == order_id
    return order_id, answer["bootstrap_token"]


def report(world: World, worker: str, order_id: str, status: str, vm_name: str | None = None) -> None:
    body = {"status": status, "vm_name": vm_name}
    answer = world.post(f"/api/v1/launchers/capacity/orders/{order_id}", body, worker)
    assert answer.status_code == 200, answer.text


def fulfilled(world: World, worker: str, vm_name: str = "vm-1", spec: CapacitySpec = RACK) -> str:
    order_id, _ = claimed(world, worker, spec)
    report(world, worker, order_id, "provisioning")
    report(world, worker, order_id, "fulfilled", vm_name)
    return order_id


def agent(world: World, vm_name: str = "vm-1") -> Agent:
    found = world.app.agents.get(vm_name)
    assert found is not None
    return found


def trusting(world: World, **changes: Any) -> None:
    """Have the operator's settings be others."""
    world.app = replace(world.app, trust=replace(world.app.trust, **changes))


# --- the challenge ----------------------------------------------------------------------------------------------------


def test_a_challenge_is_32_hex_digits_for_300_seconds_and_needs_no_key(world: World) -> None:
    answer = world.get(f"{CHALLENGE}?vm_name=vm-1", "")

    assert answer.status_code == 200
    body = answer.get_json()
    assert body.keys() == {"nonce", "ttl_seconds", "issued_at"}
    assert len(body["nonce"]) == 32
    assert set(body["nonce"]) <= set(HEX)
    assert (body["ttl_seconds"], body["issued_at"]) == (300, "2026-11-22T12:00:00Z")


def test_a_challenge_without_a_name_is_422_and_with_an_empty_one_400(world: World) -> None:
    missing = world.get(CHALLENGE, "")

    assert missing.status_code == 422
    assert [(one["type"], one["loc"]) for one in missing.get_json()["detail"]] == [("missing", ["query", "vm_name"])]
    for name in ("", "%20", "x" * 256, "a%00b", "a%0Ab"):
        assert "vm_name" in refused(world.get(f"{CHALLENGE}?vm_name={name}", ""), 400)


def test_a_new_challenge_replaces_the_one_before(world: World) -> None:
    first, second = nonce(world), nonce(world)

    assert first != second
    assert "nonce" in refused(register(world, attestation=evidence(world, TdxQuote(MRTD, report_data=first))), 403)
    registered(world, attestation=evidence(world, TdxQuote(MRTD, report_data=second)))


def test_many_that_ask_for_a_challenge_at_once_are_all_given_one_and_the_last_stands(world: World) -> None:
    nonces = at_once([partial(nonce, world)] * 8)

    standing = world.app.challenges.get("vm-1")
    assert standing is not None
    assert len(set(nonces)) == 8
    assert bytes.fromhex(standing.nonce) in nonces


# --- registration -----------------------------------------------------------------------------------------------------


def test_registration_is_answered_with_the_agents_id_and_how_often_to_poll(world: World) -> None:
    answer = register(world)

    assert answer.status_code == 200
    body = answer.get_json()
    assert str(UUID(body.pop("agent_id"), version=4))
    assert body == {"poll_interval": 30, "tunnel_token": None, "hostname": None}


def test_what_is_registered_is_what_was_proven(world: World) -> None:
    agent_id = registered(world, datacenter=" Bare-Metal:Rack-7 ", node_size=" TINY ", vm_name=" vm-1 ", unknown=[1])

    stands = agent(world)
    assert (stands.id, stands.mrtd) == (agent_id, MRTD.hex())
    assert (stands.datacenter, stands.node_size, stands.version) == ("baremetal:rack-7", "tiny", "1.0.0")


@pytest.mark.parametrize("missing", ["attestation", "vm_name", "node_size", "datacenter"])
@pytest.mark.parametrize("sent", ["absent", None, "", 7, [], {}, "\x00", "x" * 300])
def test_what_is_missing_or_malformed_is_400_and_named(world: World, missing: str, sent: object) -> None:
    body = registration(world) | {missing: sent}
    if sent == "absent":
        del body[missing]

    assert missing in refused(world.post(REGISTER, body, ""), 400)


@pytest.mark.parametrize("tdx", [{}, {"intel_ta_token": ""}, {"intel_ta_token": None}, {"quote_b64": "AAAA"}])
def test_a_missing_token_is_400(world: World, tdx: Mapping[str, object]) -> None:
    assert "intel_ta_token is missing" in refused(register(world, attestation={"tdx": tdx}), 400)


def test_messages_say_what_is_expected(world: World) -> None:
    assert refused(register(world, node_size="huge"), 400).endswith(
        "Invalid node_size. Expected one of: tiny, standard, llm"
    )
    assert "Invalid datacenter. Expected '<cloud>:<zone>'" in refused(register(world, datacenter="rack 7"), 400)


def test_a_malformed_token_is_400_and_one_that_is_refused_403(world: World) -> None:
    genuine = evidence(world)["tdx"]["intel_ta_token"]

    for token in ("nonsense", "a.b.c", "…"):
        refused(register(world, attestation={"tdx": {"intel_ta_token": token}}), 400)
    tampered = genuine[:-4] + ("AAAA" if genuine[-4:] != "AAAA" else "BBBB")
    refused(register(world, attestation={"tdx": {"intel_ta_token": tampered}}), 403)


def test_a_token_of_yesterday_is_refused(world: World) -> None:
    old = evidence(world)
    world.clock.now += timedelta(minutes=6)

    assert "expired" in refused(register(world, attestation=old), 403)


def test_an_mrtd_that_is_not_trusted_is_refused(world: World) -> None:
    assert "is not trusted" in refused(register(world, attestation=evidence(world, TdxQuote(b"\x92" * 48))), 403)


def test_a_token_without_an_mrtd_is_refused(world: World) -> None:
    assert "no MRTD" in refused(register(world, attestation=evidence(world, tdx_mrtd=None)), 403)


def test_with_nothing_trusted_nobody_registers(world: World) -> None:
    trusting(world, images=())

    refused(register(world), 403)


@pytest.mark.parametrize(("kind", "status"), [("agent", 200), ("proxy", 200), ("launcher", 403)])
def test_the_trusted_image_is_an_agents_or_a_proxys(world: World, kind: str, status: int) -> None:
    trusting(world, images=[Image(MRTD.hex(), kind)])

    assert register(world).status_code == status


def test_what_an_image_is_trusted_for_is_said(world: World) -> None:
    trusting(world, images=[Image(MRTD.hex(), "launcher")])

    assert "is that of a launcher" in refused(register(world), 403)


def test_a_machine_that_can_be_debugged_is_refused(world: World) -> None:
    trusting(world, tcb=Tcb.DISABLED)

    assert "debugged" in refused(register(world, attestation=evidence(world, TdxQuote(MRTD, debuggable=True))), 403)
    refused(register(world, attestation=evidence(world, tdx_is_debuggable=None)), 403)


@pytest.mark.parametrize(
    ("mode", "tcb_status", "status"),
    [
        (Tcb.STRICT, "UpToDate", 200),
        (Tcb.STRICT, "SWHardeningNeeded", 403),
        (Tcb.STRICT, "OutOfDate", 403),
        (Tcb.STRICT, "", 403),
        (Tcb.WARN, "OutOfDate", 200),
        (Tcb.DISABLED, "OutOfDate", 200),
    ],
)
def test_the_tcb_status_is_held_to_as_the_operator_says(world: World, mode: Tcb, tcb_status: str, status: int) -> None:
    trusting(world, tcb=mode)
    world.authority.tcb_status = tcb_status

    assert register(world).status_code == status


def test_rtmrs_are_compared_where_they_are_listed(world: World) -> None:
    rtmrs = (b"\x00" * 48, b"\x01" * 48, b"\x02" * 48, b"\x03" * 48)
    trusting(world, images=[Image(MRTD.hex(), "agent", {1: rtmrs[1].hex(), 2: rtmrs[2].hex()})])

    registered(world, attestation=evidence(world, TdxQuote(MRTD, rtmrs)))
    other = (*rtmrs[:2], b"\x09" * 48, rtmrs[3])
    assert "RTMR" in refused(register(world, attestation=evidence(world, TdxQuote(MRTD, other))), 403)
    refused(register(world, attestation=evidence(world, TdxQuote(MRTD, rtmrs), tdx_rtmr1=None)), 403)


def test_one_mrtd_may_be_trusted_with_several_rtmrs(world: World) -> None:
    small, large = b"\x0a" * 48, b"\x0b" * 48
    trusting(world, images=[Image(MRTD.hex(), "agent", {0: rtmr.hex()}) for rtmr in (small, large)])
    rest = (bytes(48), bytes(48), bytes(48))

    registered(world, vm_name="small", attestation=evidence(world, TdxQuote(MRTD, (small, *rest))))
    registered(world, vm_name="large", attestation=evidence(world, TdxQuote(MRTD, (large, *rest))))


def test_the_checks_are_made_in_the_contracts_order(world: World) -> None:
    """Each refusal's reason stands before the next one's."""
    trusting(world, nonces=Nonces.REQUIRED)
    world.authority.tcb_status = "OutOfDate"
    unknown = TdxQuote(b"\x92" * 48)
    refusals = [
        refused(register(world, attestation=evidence(world, unknown, tdx_mrtd=None, iss="Mallory")), 403),
        refused(register(world, attestation=evidence(world, unknown, tdx_mrtd=None)), 403),
        refused(register(world, attestation=evidence(world, unknown)), 403),
    ]
    world.authority.tcb_status = "UpToDate"
    refusals += [
        refused(register(world, attestation=evidence(world, unknown)), 403),
        refused(register(world), 400),
    ]

    for said, word in zip(refusals, ["issuer", "no MRTD", "TCB", "not trusted", "nonce"], strict=True):
        assert word in said


# --- the nonce --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=Nonces)
def mode(request: pytest.FixtureRequest, world: World) -> Nonces:
    trusting(world, nonces=request.param)
    mode: Nonces = request.param
    return mode


def with_nonce(world: World, value: bytes, **token: Any) -> dict[str, Any]:
    return evidence(world, TdxQuote(MRTD, report_data=value), **token)


def test_the_nonce_of_the_challenge_is_good_whatever_is_demanded(world: World, mode: Nonces) -> None:
    registered(world, attestation=with_nonce(world, nonce(world)))


def test_a_nonce_is_compared_without_case(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    report_data = nonce(world).hex().upper().ljust(128, "0")

    registered(world, attestation=evidence(world, tdx_report_data=report_data))


@pytest.mark.parametrize("claims", [{"attester_held_data": "x"}, {"attester_held_data": None}])
def test_the_nonce_is_looked_for_in_the_report_data_and_nowhere_else(world: World, claims: dict[str, Any]) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    given_nonce = nonce(world)
    held: dict[str, Any] = {name: value and base64.b64encode(given_nonce).decode() for name, value in claims.items()}

    refused(register(world, attestation=evidence(world, **held)), 400)
    registered(world, attestation=with_nonce(world, given_nonce, **held))


def test_without_a_challenge_a_nonce_is_missed_only_where_it_is_required(world: World, mode: Nonces) -> None:
    answer = register(world)

    if mode is Nonces.REQUIRED:
        assert "nonce is required" in refused(answer, 400)
    else:
        assert answer.status_code == 200


def test_a_challenge_that_stands_must_be_met_unless_nonces_are_disabled(world: World, mode: Nonces) -> None:
    nonce(world)
    absent = register(world)
    wrong = register(world, attestation=with_nonce(world, b"\x05" * 16))

    assert (absent.status_code, wrong.status_code) == ((200, 200) if mode is Nonces.DISABLED else (400, 403))


def test_a_challenge_past_its_end_does_not_stand(world: World, mode: Nonces) -> None:
    late = nonce(world)
    world.clock.now += timedelta(seconds=300)
    answer = register(world, attestation=with_nonce(world, late))

    assert answer.status_code == (403 if mode is Nonces.REQUIRED else 200)


def test_a_nonce_is_good_once(world: World, mode: Nonces) -> None:
    used = nonce(world)
    registered(world, attestation=with_nonce(world, used))
    again = register(world, attestation=with_nonce(world, used))

    assert again.status_code == (200 if mode is Nonces.DISABLED else 403)


def test_the_same_registration_sent_twice_is_answered_twice(world: World, mode: Nonces) -> None:
    body = registration(world, attestation=with_nonce(world, nonce(world)))
    first, second = world.post(REGISTER, body, ""), world.post(REGISTER, body, "")

    assert first.get_json() == second.get_json()
    assert (first.status_code, second.status_code) == (200, 200)


def test_of_two_machines_with_one_nonce_one_registers(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    shared = nonce(world)
    bodies = [registration(world, attestation=with_nonce(world, shared)) for _ in range(4)]

    answers = at_once([partial(world.post, REGISTER, body, "") for body in bodies])

    statuses = sorted(answer.status_code for answer in answers if isinstance(answer, TestResponse))
    assert statuses == [200, 403, 403, 403]


def test_a_nonce_is_bound_to_its_machines_name(world: World) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    nonce(world, "vm-2")

    refused(register(world, vm_name="vm-2", attestation=with_nonce(world, nonce(world, "vm-1"))), 403)


def test_a_used_challenge_keeps_no_machine_from_registering_again_where_nonces_are_optional(world: World) -> None:
    agent_id = registered(world, attestation=with_nonce(world, nonce(world)))

    assert registered(world) == agent_id


# --- registering again ------------------------------------------------------------------------------------------------


def test_a_machine_that_registers_again_is_the_same_agent(world: World) -> None:
    agent_id = registered(world)
    world.clock.now += timedelta(hours=1)

    assert registered(world, version="1.1.0") == agent_id
    assert (agent(world).version, agent(world).last_seen_at) == ("1.1.0", world.clock.now)


@pytest.mark.parametrize(
    "changes", [{"node_size": "standard"}, {"datacenter": "baremetal:rack-8"}, {"mrtd": "another"}]
)
def test_another_mrtd_size_or_datacenter_under_the_same_name_is_409(world: World, changes: dict[str, str]) -> None:
    registered(world)
    if changes.pop("mrtd", None):
        trusting(world, images=[Image(MRTD.hex(), "agent"), Image("92" * 48, "agent")])
        answer = register(world, attestation=evidence(world, TdxQuote(b"\x92" * 48)))
    else:
        answer = register(world, **changes)

    assert "another MRTD, size or datacenter" in refused(answer, 409)


def test_many_that_register_under_one_name_at_once_are_one_agent(world: World) -> None:
    body = registration(world)
    answers = at_once([partial(world.post, REGISTER, body, "")] * 8)

    ids = {answer.get_json()["agent_id"] for answer in answers if isinstance(answer, TestResponse)}
    assert ids == {agent(world).id}


# --- the order --------------------------------------------------------------------------------------------------------


def bootstrap(order_id: str, token: str) -> dict[str, str]:
    return {"bootstrap_order_id": order_id, "bootstrap_token": token}


def test_a_bootstrap_token_tells_whose_machine_it_is_whatever_its_name(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    report(world, worker, order_id, "provisioning", "tdvirsh-trust_domain_verity-5e")

    agent_id = registered(world, vm_name="the-guests-own-host-name", **bootstrap(order_id, token))

    order = world.order(order_id)
    assert (order.state, order.agent, order.vm) == (State.RUNNING, agent_id, "tdvirsh-trust_domain_verity-5e")


def test_where_attestation_is_required_the_workers_word_ends_provisioning_and_the_guests_fulfils(
    world: World, worker: str
) -> None:
    order_id, token = claimed(world, worker, ATTESTED)
    report(world, worker, order_id, "fulfilled", "vm-1")
    assert world.order(order_id).state is State.PROVISIONING

    registered(world, **bootstrap(order_id, token))

    assert world.order(order_id).state is State.RUNNING


def test_the_launcher_names_the_machine_also_where_its_guest_was_faster(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    agent_id = registered(world, vm_name="guest", **bootstrap(order_id, token))
    assert (world.order(order_id).state, world.order(order_id).vm) == (State.RUNNING, "guest")

    report(world, worker, order_id, "fulfilled", "tdvirsh-1")

    order = world.order(order_id)
    assert (order.state, order.vm, order.agent) == (State.RUNNING, "tdvirsh-1", agent_id)
    assert registered(world, vm_name="guest") == agent_id


def test_a_guest_that_registers_while_its_launcher_reports_is_no_fault_of_that_one(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, token = claimed(world, worker)
    apply = world.app.store.apply

    def registered_just_before(order_id: str, event: AnyEvent, now: datetime, seen: Snapshot | None = None) -> Order:
        monkeypatch.setattr(world.app.store, "apply", apply)
        registered(world, vm_name="guest", **bootstrap(order_id, token))
        return apply(order_id, event, now, seen)

    monkeypatch.setattr(world.app.store, "apply", registered_just_before)

    report(world, worker, order_id, "fulfilled", "tdvirsh-1")

    assert (world.order(order_id).state, world.order(order_id).vm) == (State.RUNNING, "tdvirsh-1")


def test_a_name_tells_whose_machine_it_is_where_there_is_no_token(world: World, worker: str) -> None:
    order_id, _ = claimed(world, worker, ATTESTED)
    report(world, worker, order_id, "fulfilled", "vm-1")

    agent_id = registered(world)

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, agent_id)


@pytest.mark.parametrize("changes", [{"vm_name": "vm-2"}, {"datacenter": "gcp:us-central1-a"}, {"node_size": "llm"}])
def test_a_machine_of_another_name_place_or_size_is_not_that_orders(
    world: World, worker: str, changes: dict[str, str]
) -> None:
    order_id = fulfilled(world, worker)

    registered(world, **changes)

    assert world.order(order_id).agent is None


def test_the_order_is_found_among_many(world: World, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = world.app.store.page
    monkeypatch.setattr(world.app.store, "page", lambda query: page(replace(query, limit=2)))
    orders = [fulfilled(world, worker, f"vm-{number}") for number in range(5)]

    agent_id = registered(world, vm_name="vm-4")

    assert [world.order(order_id).agent for order_id in orders] == [None, None, None, None, agent_id]


def test_a_guest_that_was_faster_than_its_launchers_report_is_met_afterwards(world: World, worker: str) -> None:
    order_id, _ = claimed(world, worker, ATTESTED)
    agent_id = registered(world)

    report(world, worker, order_id, "fulfilled", "vm-1")

    met = world.order(order_id)
    assert (met.state, met.agent) == (State.RUNNING, agent_id)
    assert agent(world).order_id == order_id


def test_a_guest_that_registered_before_its_launchers_late_report_fulfils_the_order_that_is_given_back(
    world: World, worker: str
) -> None:
    order_id, _ = claimed(world, worker, ATTESTED)
    agent_id = registered(world)
    world.clock.now += timedelta(minutes=11)
    world.sweep()
    assert world.order(order_id).state is State.QUEUED

    report(world, worker, order_id, "fulfilled", "vm-1")

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, agent_id)


def test_an_agent_from_before_the_claim_is_in_another_machine(world: World, worker: str) -> None:
    registered(world)
    world.clock.now += timedelta(seconds=1)
    order_id, _ = claimed(world, worker, ATTESTED)

    report(world, worker, order_id, "fulfilled", "vm-1")

    assert world.order(order_id).agent is None


def wrong_tokens(world: World, order_id: str, token: str) -> dict[str, dict[str, str]]:
    return {
        "another token": bootstrap(order_id, "A" * 43),
        "the callback token": bootstrap(order_id, world.app.tokens.issue(order_id, 1)),
        "another epoch's": bootstrap(order_id, world.app.tokens.bootstrap(order_id, 2)),
        "another order's": bootstrap(str(uuid4()), token),
    }


@pytest.mark.parametrize("which", ["another token", "the callback token", "another epoch's", "another order's"])
@pytest.mark.parametrize("own_token", [True, False])
def test_a_wrong_bootstrap_token_is_refused_in_the_contracts_words(
    world: World, worker: str, which: str, own_token: bool
) -> None:
    order_id, token = claimed(world, worker)
    pair = wrong_tokens(world, order_id, token)[which]
    attestation = evidence(world) if own_token else quote_only()

    assert refused(register(world, attestation=attestation, **pair), 403) == "Invalid bootstrap token"
    assert world.authority.asked.count("/appraisal/v1/attest") == 0


def test_a_bootstrap_token_is_good_for_one_agent(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    agent_id = registered(world, **bootstrap(order_id, token))

    refused(register(world, vm_name="vm-2", **bootstrap(order_id, token)), 403)
    assert registered(world, **bootstrap(order_id, token)) == agent_id
    assert world.order(order_id).agent == agent_id


def test_of_many_that_use_one_bootstrap_token_at_once_one_becomes_the_agent(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    bodies = [registration(world, vm_name=f"vm-{number}", **bootstrap(order_id, token)) for number in range(6)]

    answers = at_once([partial(world.post, REGISTER, body, "") for body in bodies])

    accepted = [answer.get_json()["agent_id"] for answer in answers if answer.status_code == 200]  # type: ignore[union-attr]
    assert accepted == [world.order(order_id).agent]


def test_a_bootstrap_token_is_dead_once_the_order_was_queued_again(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker)
    world.clock.now += timedelta(seconds=606)
    world.sweep()
    assert world.order(order_id).state is State.QUEUED
    refused(register(world, **bootstrap(order_id, token)), 403)

    world.clock.now += timedelta(minutes=1)
    assert world.post(CLAIM, {}, worker).get_json()["claimed"]

    assert refused(register(world, **bootstrap(order_id, token)), 403) == "Invalid bootstrap token"


@pytest.mark.parametrize("alone", ["bootstrap_order_id", "bootstrap_token"])
def test_an_order_and_its_token_belong_together(world: World, worker: str, alone: str) -> None:
    pair = bootstrap(*claimed(world, worker))

    assert "belong together" in refused(register(world, **{alone: pair[alone]}), 400)


def test_empty_bootstrap_fields_are_none(world: World) -> None:
    registered(world, bootstrap_order_id="", bootstrap_token=None)


def test_a_quote_is_appraised_here_for_who_brings_a_bootstrap_token(world: World, worker: str) -> None:
    order_id, token = claimed(world, worker, ATTESTED)

    agent_id = registered(world, attestation=quote_only(), **bootstrap(order_id, token))

    assert (world.order(order_id).state, world.order(order_id).agent) == (State.RUNNING, agent_id)
    assert world.authority.asked.count("/appraisal/v1/attest") == 1


def test_a_quote_alone_is_appraised_for_nobody(world: World) -> None:
    assert "intel_ta_token is missing" in refused(register(world, attestation=quote_only()), 400)
    assert world.authority.asked == []


def test_a_bootstrap_token_that_was_used_buys_no_other_machine_an_appraisal(world: World, worker: str) -> None:
    pair = bootstrap(*claimed(world, worker))
    agent_id = registered(world, attestation=quote_only(), **pair)

    refused(register(world, vm_name="vm-2", attestation=quote_only(), **pair), 403)
    assert world.authority.asked.count("/appraisal/v1/attest") == 1
    assert registered(world, attestation=quote_only(), **pair) == agent_id


@pytest.mark.parametrize(("quote_b64", "status"), [("!", 400), ("é", 400), ("AAAA", 403)])
def test_a_quote_that_is_none_is_refused(world: World, worker: str, quote_b64: str, status: int) -> None:
    pair = bootstrap(*claimed(world, worker))

    refused(register(world, attestation={"tdx": {"quote_b64": quote_b64}}, **pair), status)


def test_while_intel_is_away_an_agent_is_told_to_come_again(world: World, worker: str) -> None:
    pair = bootstrap(*claimed(world, worker))
    world.authority.away = True

    refused(register(world), 503)
    refused(register(world, attestation=quote_only(), **pair), 503)


def test_a_registration_cut_short_is_healed_by_the_same_again(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting(world, nonces=Nonces.REQUIRED)
    order_id, token = claimed(world, worker, ATTESTED)
    attestation = evidence(world, TdxQuote(MRTD, report_data=nonce(world)))
    body = registration(world, attestation=attestation, **bootstrap(order_id, token))

    def broken(*_: object) -> Order:
        raise Unavailable("The store does not answer.")

    with monkeypatch.context() as broken_store:
        broken_store.setattr(world.app.store, "apply", broken)
        refused(world.post(REGISTER, body, ""), 503)
    assert world.order(order_id).agent is None

    answer = world.post(REGISTER, body, "")

    assert answer.status_code == 200
    assert world.order(order_id).agent == answer.get_json()["agent_id"] == agent(world).id


def test_a_worker_that_says_started_where_attestation_is_required_is_told_what_is_missing(world: World) -> None:
    order_id = world.place(ATTESTED)["id"]
    assert world.claim(order_id, lanes=[f"{RACK.datacenter}/capacity/tiny"]) is not None

    early = world.call_back(order_id, "started")
    assert early.status_code == 409
    assert "an agent in its machine must register" in early.get_json()["detail"]

    registered(world, **bootstrap(order_id, world.app.tokens.bootstrap(order_id, 1)))

    late = world.call_back(order_id, "started")
    assert (late.status_code, late.get_json()["state"]) == (200, "running")


# --- heartbeats -------------------------------------------------------------------------------------------------------


def beat(world: World, agent_id: str, **changes: Any) -> TestResponse:
    attestation = changes.pop("attestation", None) or evidence(world)
    body = {"vm_name": "vm-1", "attestation": attestation, "status": "deployed", "deployment_id": "d-1", **changes}
    return world.post(f"/api/v1/agents/{agent_id}/heartbeat", body, "")


def test_a_heartbeat_says_how_the_agent_is(world: World) -> None:
    agent_id = registered(world)
    world.clock.now += timedelta(hours=1)

    answer = beat(world, agent_id)

    assert (answer.status_code, answer.get_json()) == (200, {"status": "ok", "agent_id": agent_id})
    stands = agent(world)
    assert (stands.status, stands.deployment_id, stands.last_seen_at) == ("deployed", "d-1", world.clock.now)


def test_what_a_heartbeat_does_not_say_stays(world: World) -> None:
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


def test_a_heartbeat_proves_anew_what_the_machine_is(world: World) -> None:
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


# --- operators --------------------------------------------------------------------------------------------------------


def listed(world: World, query: str = "") -> list[str]:
    answer = world.get(f"/api/v1/agents{query}", ADMIN)
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    assert body["total"] == len(body["agents"])
    return [one["vm_name"] for one in body["agents"]]


def test_agents_are_listed_by_status_and_part_of_a_name(world: World) -> None:
    ids = [registered(world, vm_name=name) for name in ("rack-a", "rack-b", "attic")]
    beat(world, ids[1], vm_name="rack-b")

    assert sorted(listed(world)) == ["attic", "rack-a", "rack-b"]
    assert sorted(listed(world, "?vm_name=RACK")) == ["rack-a", "rack-b"]
    assert listed(world, "?vm_name=rack&status=deployed") == ["rack-b"]
    assert sorted(listed(world, "?status=undeployed")) == ["attic", "rack-a"]
    assert listed(world, "?status=gone") == []


def test_an_agent_is_told_with_what_is_known_of_it(world: World, worker: str) -> None:
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


def test_the_node_of_a_deleted_agent_is_replaced_where_no_launcher_watches(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)
    agent_id = registered(world)

    world.delete(f"/api/v1/agents/{agent_id}", ADMIN)

    order = world.order(order_id)
    assert (order.state, order.reason, order.agent) == (State.QUEUED, Reason.AGENT_LOST, agent_id)


def attended(world: World) -> str:
    """Return an order that a launcher of ours watches over, with an agent in its machine."""
    order_id: str = world.place(RACK)["id"]
    assert world.claim(order_id, lanes=[f"{RACK.datacenter}/capacity/tiny"]) is not None
    registered(world, **bootstrap(order_id, world.app.tokens.bootstrap(order_id, 1)))
    assert world.order(order_id).state is State.RUNNING
    return order_id


def test_the_node_of_a_deleted_agent_is_left_to_the_launcher_that_watches_it(world: World) -> None:
    order_id = attended(world)

    world.delete(f"/api/v1/agents/{agent(world).id}", ADMIN)

    assert world.order(order_id).state is State.RUNNING


# --- the sweep --------------------------------------------------------------------------------------------------------


def see_to(world: World, limit: int = 100) -> int:
    return world.service(Agents).replace_lost(limit) + world.service(Verifier).forget_challenges(limit)


def test_the_node_of_an_agent_that_was_lost_is_replaced(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)
    registered(world)
    world.clock.now += LOST_AFTER
    assert see_to(world) == 0
    assert world.order(order_id).state is State.RUNNING

    world.clock.now += timedelta(seconds=1)

    assert see_to(world) == 1
    assert (world.order(order_id).state, world.order(order_id).reason) == (State.QUEUED, Reason.AGENT_LOST)
    assert listed(world) == []
    assert see_to(world) == 0


def test_an_agent_that_beats_is_not_lost(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)
    agent_id = registered(world)
    for _ in range(5):
        world.clock.now += timedelta(hours=1)
        beat(world, agent_id)
        assert see_to(world) == 0

    assert world.order(order_id).state is State.RUNNING


def test_an_agent_that_is_heard_while_the_sweep_looks_is_not_lost(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = fulfilled(world, worker)
    agent_id = registered(world)
    world.clock.now += LOST_AFTER + timedelta(seconds=1)
    stale = agent(world)
    beat(world, agent_id)
    monkeypatch.setattr(world.app.agents, "before", lambda *_: [stale])

    assert see_to(world) == 0
    assert listed(world) == ["vm-1"]
    assert world.order(order_id).state is State.RUNNING


def test_an_agent_that_is_heard_in_the_last_moment_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_id = registered(world)
    world.clock.now += LOST_AFTER + timedelta(seconds=1)
    take = world.app.agents.take

    def heard_just_before(id_: str, which: Callable[[Agent], bool]) -> Agent | None:
        beat(world, agent_id)
        return take(id_, which)

    monkeypatch.setattr(world.app.agents, "take", heard_just_before)

    assert see_to(world) == 0
    assert listed(world) == ["vm-1"]


def test_a_lost_agents_node_is_left_to_the_launcher_that_watches_it(world: World) -> None:
    order_id = attended(world)
    until = world.clock.now + LOST_AFTER + timedelta(seconds=1)
    while world.clock.now < until:
        world.clock.now += timedelta(seconds=50)
        world.heartbeat((order_id, 1))

    assert see_to(world) == 0
    assert world.order(order_id).state is State.RUNNING


def test_a_lost_agent_whose_order_went_on_without_it_changes_nothing_of_it(world: World, worker: str) -> None:
    order_id = fulfilled(world, worker)
    registered(world)
    order = world.order(order_id)
    assert order.agent is not None
    world.app.agents.change("vm-1", lambda one: replace(one, epoch=0))
    world.clock.now += LOST_AFTER + timedelta(seconds=1)

    assert see_to(world) == 1
    assert world.order(order_id) == order


def test_one_lost_agent_whose_order_cannot_be_read_keeps_no_other_from_being_seen_to(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [fulfilled(world, worker, f"vm-{number}") for number in range(2)]
    for number in range(2):
        registered(world, vm_name=f"vm-{number}")
    world.clock.now += LOST_AFTER + timedelta(seconds=1)
    get = world.app.store.get

    def unreadable(order_id: str) -> Order:
        if order_id == orders[0]:
            raise Unavailable("The store does not answer.")
        return get(order_id)

    monkeypatch.setattr(world.app.store, "get", unreadable)

    assert see_to(world) == 1
    assert world.app.store.get(orders[1]).state is State.QUEUED


@pytest.mark.parametrize("stuck", ["challenge", "agent"])
def test_a_record_that_the_store_does_not_answer_for_keeps_the_sweep_from_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    records: Any = world.app.challenges if stuck == "challenge" else world.app.agents
    for number in range(3):
        registered(world, vm_name=f"vm-{number}")
        nonce(world, f"vm-{number}")
    take, over = records.take, threading.Event()

    def silent(id_: str, *which: Callable[[Any], bool]) -> object:
        if id_ == "vm-0":
            over.wait()
        return take(id_, *which)

    monkeypatch.setattr(records, "take", silent)
    world.clock.now += LOST_AFTER + timedelta(seconds=1)
    try:
        assert world.sweep()["records_forgotten"] == 5
    finally:
        over.set()


def test_challenges_past_their_end_are_forgotten(world: World) -> None:
    for number in range(3):
        nonce(world, f"vm-{number}")
    world.clock.now += timedelta(seconds=301)
    nonce(world, "vm-2")

    assert (see_to(world, limit=1), see_to(world), see_to(world)) == (1, 1, 0)
    assert world.app.challenges.get("vm-2") is not None


def test_a_challenge_that_was_renewed_while_the_sweep_looks_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonce(world)
    world.clock.now += timedelta(seconds=301)
    old = world.app.challenges.before("expires_at", world.clock.now, 1)
    renewed = nonce(world)
    monkeypatch.setattr(world.app.challenges, "before", lambda *_: old)

    assert see_to(world) == 0
    registered(world, attestation=with_nonce(world, renewed))


# --- whatever is sent -------------------------------------------------------------------------------------------------

LEAF: Final = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["", "x"])
)
JUNK: Final = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner), max_leaves=8
)
FIELDS: Final = st.sampled_from(
    ["attestation", "vm_name", "version", "node_size", "datacenter", "bootstrap_order_id", "bootstrap_token", "status"]
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrong=st.dictionaries(FIELDS, JUNK, max_size=3), tdx=st.none() | st.dictionaries(st.text(), JUNK), body=JUNK)
def test_whatever_an_agent_sends_nothing_breaks(world: World, wrong: dict[str, Any], tdx: Any, body: object) -> None:
    agent_id = registered(world)
    for sent in (body, registration(world) | wrong, registration(world, attestation={"tdx": tdx})):
        for path in (REGISTER, f"/api/v1/agents/{agent_id}/heartbeat"):
            answer = world.http.post(path, data=json.dumps(sent), headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (sent, answer.text)
            assert "detail" in answer.get_json() or answer.status_code == 200


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(claims=st.dictionaries(st.sampled_from(["exp", "nbf", "iss", "tdx", "tdx_mrtd", "tdx_report_data"]), JUNK))
def test_whatever_a_token_claims_nothing_breaks(world: World, claims: dict[str, Any]) -> None:
    answer = register(world, attestation={"tdx": {"intel_ta_token": sign_junk(world, claims)}})
    assert answer.status_code < 500


def sign_junk(world: World, claims: Mapping[str, Any]) -> str:
    whole = {**world.authority.claims(GENUINE), **claims}
    return world.authority.sign(json.dumps(whole))


@pytest.mark.parametrize("body", [b"", b"{", b"[1", b"\xff", b'{"vm_name": "\\ud800"}'])
def test_a_body_that_is_no_json_is_422(world: World, body: bytes) -> None:
    answer = world.http.post(REGISTER, data=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert isinstance(answer.get_json()["detail"], list)


def test_a_refused_registration_leaves_nothing(world: World) -> None:
    refused(register(world, attestation=evidence(world, TdxQuote(b"\x92" * 48))), 403)

    assert world.app.agents.get("vm-1") is None
