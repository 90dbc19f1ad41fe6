"""The capacity contract's agents in one line each: evidence, registration, heartbeats, and their orders."""

import base64
from dataclasses import replace
from typing import Any, Final

from werkzeug.test import TestResponse

from emulators.fakes.tdx_quote import TdxQuote
from functions.domain.agents import Agent
from functions.engine.attestation import binding_of
from shared.domain.order import State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize
from tests.functions.world import ADMIN, MRTD, World

CHALLENGE: Final = "/api/v1/agents/challenge"
REGISTER: Final = "/api/v1/agents/register"
CLAIM: Final = "/api/v1/launchers/capacity/orders/claim"
RACK: Final = CapacitySpec(datacenter="baremetal:rack-7", node_size=NodeSize.TINY)
ATTESTED: Final = RACK.model_copy(update={"attestation": Attestation.REQUIRED})
GENUINE: Final = TdxQuote(MRTD)
HEX: Final = "0123456789abcdef"
AGENT_KEY: Final = b"the public key that the agent in the machine made"
OTHER_KEY: Final = b"the public key of an agent in another machine"


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
    """Return the one agent of this name."""
    (found,) = world.ports.agents.find("vm_name", vm_name, 10)
    return found


def trusting(world: World, **changes: Any) -> None:
    """Have the operator's settings be others."""
    world.ports = replace(world.ports, trust=replace(world.ports.trust, **changes))


def with_nonce(world: World, value: bytes, **token: Any) -> dict[str, Any]:
    return evidence(world, TdxQuote(MRTD, report_data=value), **token)


def bootstrap(order_id: str, token: str) -> dict[str, str]:
    return {"bootstrap_order_id": order_id, "bootstrap_token": token}


def bound_quote(world: World, token: str, vm_name: str = "vm-1", key: bytes = AGENT_KEY) -> TdxQuote:
    """Return the quote of a machine that has made this key, with a fresh nonce."""
    return TdxQuote(MRTD, report_data=nonce(world, vm_name) + bytes.fromhex(binding_of(token, key)))


def attested(
    world: World, order_id: str, token: str, vm_name: str = "vm-1", key: bytes = AGENT_KEY, **changes: Any
) -> dict[str, Any]:
    """Return what an agent adds to its registration if its order demands attestation."""
    attestation = evidence(world, bound_quote(world, token, vm_name, key))
    named = {"vm_name": vm_name, "agent_key": base64.b64encode(key).decode()}
    return {"attestation": attestation, **named, **bootstrap(order_id, token), **changes}


def beat(world: World, agent_id: str, **changes: Any) -> TestResponse:
    attestation = changes.pop("attestation", None) or evidence(world)
    body = {"vm_name": "vm-1", "attestation": attestation, "status": "deployed", "deployment_id": "d-1", **changes}
    return world.post(f"/api/v1/agents/{agent_id}/heartbeat", body, "")


def listed(world: World, query: str = "") -> list[str]:
    answer = world.get(f"/api/v1/agents{query}", ADMIN)
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    assert body["total"] == len(body["agents"])
    return [one["vm_name"] for one in body["agents"]]


def attended(world: World, vm_name: str = "vm-1") -> str:
    """Return an order whose lease is attended, with an agent in its machine."""
    order_id: str = world.place(RACK)["id"]
    assert world.claim(order_id, lanes=[f"{RACK.datacenter}/capacity/tiny"]) is not None
    registered(world, vm_name=vm_name, **bootstrap(order_id, world.ports.tokens.bootstrap(order_id, 1)))
    assert world.order(order_id).state is State.RUNNING
    return order_id
