"""Registration, section 9: which evidence is accepted, and what is stored of the machine."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from emulators.fakes.tdx_quote import TdxQuote
from functions.engine.trust import Image, Nonces, Tcb
from shared.log_events import LogEvent
from tests.functions.capacity.agents import (
    ATTESTED,
    OTHER_KEY,
    REGISTER,
    agent,
    attested,
    beat,
    claimed,
    evidence,
    nonce,
    refused,
    register,
    registered,
    registration,
    trusting,
    with_nonce,
)
from tests.functions.world import MRTD, World
from tests.threads import at_once


def test_registration_is_answered_with_the_agents_id_and_how_often_to_poll(world: World) -> None:
    answer = register(world)

    assert answer.status_code == 200
    body = answer.get_json()
    assert str(UUID(body.pop("agent_id"), version=4))
    assert body == {"poll_interval": 30, "tunnel_token": None, "hostname": None}


def test_the_stored_agent_has_the_evidences_values(world: World) -> None:
    agent_id = registered(world, datacenter=" Bare-Metal:Rack-7 ", node_size=" TINY ", vm_name=" vm-1 ", unknown=[1])

    stored = agent(world)
    assert (stored.id, stored.mrtd) == (agent_id, MRTD.hex())
    assert (stored.datacenter, stored.node_size, stored.version) == ("baremetal:rack-7", "tiny", "1.0.0")


@pytest.mark.parametrize("missing", ["attestation", "vm_name", "node_size", "datacenter"])
@pytest.mark.parametrize("sent", ["absent", None, "", 7, [], {}, "\x00", "x" * 300])
def test_a_missing_or_malformed_field_is_400_and_named(world: World, missing: str, sent: object) -> None:
    body = registration(world) | {missing: sent}
    if sent == "absent":
        del body[missing]

    assert missing in refused(world.post(REGISTER, body, ""), 400)


@pytest.mark.parametrize("tdx", [{}, {"intel_ta_token": ""}, {"intel_ta_token": None}, {"quote_b64": "AAAA"}])
def test_a_missing_token_is_400(world: World, tdx: Mapping[str, object]) -> None:
    assert "intel_ta_token is missing" in refused(register(world, attestation={"tdx": tdx}), 400)


def test_messages_name_what_is_expected(world: World) -> None:
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


def test_without_trusted_images_no_agent_registers(world: World) -> None:
    trusting(world, images=())

    refused(register(world), 403)


@pytest.mark.parametrize(("kind", "status"), [("agent", 200), ("proxy", 200), ("launcher", 403)])
def test_the_trusted_image_is_an_agents_or_a_proxys(world: World, kind: str, status: int) -> None:
    trusting(world, images=[Image(MRTD.hex(), kind)])

    assert register(world).status_code == status


def test_the_refusal_names_what_an_image_is_trusted_for(world: World) -> None:
    trusting(world, images=[Image(MRTD.hex(), "launcher")])

    assert "is that of a launcher" in refused(register(world), 403)


def test_each_refusal_of_a_proof_is_logged_with_its_reason_and_without_the_proof(world: World, worker: str) -> None:
    untrusted = evidence(world, TdxQuote(b"\x92" * 48))
    foreign_nonce, used = with_nonce(world, nonce(world, "vm-2")), evidence(world)
    registered(world, attestation=used)
    bound = attested(world, *claimed(world, worker, ATTESTED))
    other_key = base64.b64encode(OTHER_KEY).decode()

    with capture_logs() as lines:
        details = [
            refused(register(world, attestation=untrusted), 403),
            refused(register(world, attestation=foreign_nonce), 403),
            refused(register(world, attestation=used, vm_name="vm-3"), 403),
            refused(register(world, **bound | {"agent_key": other_key}), 403),
        ]

    logged = [line for line in lines if line["event"] == LogEvent.ATTESTATION_REFUSED]
    assert [line["why"] for line in logged] == details
    assert {line["log_level"] for line in logged} == {"warning"}
    for proof in (untrusted, foreign_nonce, used, bound["attestation"]):
        assert proof["tdx"]["intel_ta_token"] not in str(lines)
        assert proof["tdx"]["quote_b64"] not in str(lines)


def test_a_refused_proof_is_logged_with_the_machine_or_the_agent_that_it_is_for(world: World) -> None:
    another = TdxQuote(b"\x93" * 48)
    trusting(world, images=[Image(MRTD.hex(), "agent"), Image(another.mrtd.hex(), "agent")])
    agent_id = registered(world)

    with capture_logs([merge_contextvars]) as lines:
        refused(register(world, vm_name="vm-2", attestation=evidence(world, TdxQuote(b"\x92" * 48))), 403)
        why = refused(beat(world, agent_id, attestation=evidence(world, another)), 403)

    first, second = [line for line in lines if line["event"] == LogEvent.ATTESTATION_REFUSED]
    assert first["vm_name"] == "vm-2"
    assert (second["agent_id"], second["why"]) == (agent_id, why)
    assert "MRTD is not the one" in why


def test_a_registration_that_is_accepted_or_malformed_is_no_refusal_of_a_proof(world: World) -> None:
    with capture_logs() as lines:
        registered(world)
        refused(register(world, node_size="huge"), 400)

    assert LogEvent.ATTESTATION_REFUSED not in [line["event"] for line in lines]


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
def test_the_tcb_status_is_enforced_in_the_operators_mode(
    world: World, mode: Tcb, tcb_status: str, status: int
) -> None:
    trusting(world, tcb=mode)
    world.authority.tcb_status = tcb_status

    assert register(world).status_code == status


def test_rtmrs_are_compared_if_they_are_listed(world: World) -> None:
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
    """Each refusal's reason stored before the next one's."""
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

    for text, word in zip(refusals, ["issuer", "no MRTD", "TCB", "not trusted", "nonce"], strict=True):
        assert word in text


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
