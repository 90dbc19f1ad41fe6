"""No input from an agent causes a 5xx."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulators.fakes.tdx_quote import TdxQuote
from tests.functions.capacity.agents import GENUINE, REGISTER, evidence, refused, register, registered, registration
from tests.functions.world import World

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
def test_no_agents_input_causes_an_unexpected_error(
    world: World, wrong: dict[str, Any], tdx: Any, body: object
) -> None:
    agent_id = registered(world)
    for sent in (body, registration(world) | wrong, registration(world, attestation={"tdx": tdx})):
        for path in (REGISTER, f"/api/v1/agents/{agent_id}/heartbeat"):
            answer = world.http.post(path, data=json.dumps(sent), headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (sent, answer.text)
            assert "detail" in answer.get_json() or answer.status_code == 200


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(claims=st.dictionaries(st.sampled_from(["exp", "nbf", "iss", "tdx", "tdx_mrtd", "tdx_report_data"]), JUNK))
def test_no_token_claims_cause_an_unexpected_error(world: World, claims: dict[str, Any]) -> None:
    answer = register(world, attestation={"tdx": {"intel_ta_token": sign_junk(world, claims)}})
    assert answer.status_code < 500


def sign_junk(world: World, claims: Mapping[str, Any]) -> str:
    whole = {**world.authority.claims(GENUINE), **claims}
    return world.authority.sign(json.dumps(whole))


@pytest.mark.parametrize("body", [b"", b"{", b"[1", b"\xff", b'{"vm_name": "\\ud800"}'])
def test_a_body_that_is_not_json_is_422(world: World, body: bytes) -> None:
    answer = world.http.post(REGISTER, data=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert isinstance(answer.get_json()["detail"], list)


def test_a_refused_registration_leaves_nothing(world: World) -> None:
    refused(register(world, attestation=evidence(world, TdxQuote(b"\x92" * 48))), 403)

    assert world.ports.agents.get("vm-1") is None
