"""The steps of a scenario by users of the capacity contract: operators with pools, workers, and agents in machines."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

from emulators.settings import DATACENTER
from functions.engine.attestation import binding_of
from shared.domain.order import FINAL, State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize
from shared.wire.orders import OrderView
from tests.crash.deployment import TRUSTED, Deployment, Ending
from tests.crash.steps import Step, a_machine, freeze_launcher, thaw_launcher
from tests.harness.clients import Client
from tests.harness.waiting import await_value

TARGETS: Final = "/api/v1/admin/agents/capacity/targets"
RECONCILE: Final = "/api/v1/admin/agents/capacity/reconcile"
ACCOUNTS: Final = "/api/v1/accounts"
ORDERS: Final = "/api/v1/launchers/capacity/orders"
AGENTS: Final = "/api/v1/agents"
LOCAL: Final = {"datacenter": DATACENTER, "node_size": NodeSize.TINY.value}
RACK: Final = {"datacenter": "baremetal:rack-7", "node_size": NodeSize.TINY.value}
"""Only workers of the contract claim orders there."""
ATTESTED: Final = CapacitySpec(datacenter=RACK["datacenter"], node_size=NodeSize.TINY, attestation=Attestation.REQUIRED)
AGENT_KEY: Final = b"the public key that the agent in the machine made"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of the contract, with an account of its own. A machine that it starts is a name in a list."""

    deployment: Deployment
    api: Client

    def claim(self, where: dict[str, str]) -> dict[str, Any]:
        """Return the answer that has an order, once there is one."""

        def claim_once() -> dict[str, Any] | None:
            answer: dict[str, Any] = self.api.ask("POST", f"{ORDERS}/claim", json=where)
            return answer if answer["claimed"] else None

        return await_value(claim_once, "an order for a worker")

    def start(self) -> str:
        """Start a machine, and return its name."""
        self.deployment.elsewhere.append(f"tdvirsh-trust_domain_verity-{uuid4()}")
        return self.deployment.elsewhere[-1]

    def fulfil(self, order_id: str, vm_name: str) -> None:
        """Report that this machine fulfils the order."""
        self.api.ask("POST", f"{ORDERS}/{order_id}", json={"status": "fulfilled", "vm_name": vm_name})


def a_pool(count: int) -> Step:
    """Set the target of a pool. The scenario must end with that number of running orders."""

    def step(deployment: Deployment) -> None:
        _set_target(deployment, count)
        for order in _await_orders(deployment, count, lambda _order: True):
            deployment.expect(order.id, Ending(State.RUNNING))

    return step


def lower(count: int) -> Step:
    """Lower the pool's target. The orders above it succeed if they ran, and are cancelled if they did not."""

    def step(deployment: Deployment) -> None:
        released = len(deployment.endings) - count
        _set_target(deployment, count)
        for order in _await_orders(deployment, released, lambda order: order.cancel_requested or order.state in FINAL):
            deployment.expect(order.id, Ending(State.SUCCEEDED if State.RUNNING in order.entered else State.CANCELLED))

    return step


def until_all_run(deployment: Deployment) -> None:
    _await_orders(deployment, len(deployment.endings), lambda order: order.state is State.RUNNING)


def an_attested_machine(deployment: Deployment) -> None:
    """Have a worker start a machine whose order runs only once its agent has registered."""
    order = deployment.client.answer(lambda api: api.create_order(ATTESTED, "the attested machine"))
    deployment.expect(order.id, Ending(State.RUNNING))
    worker = _a_worker(deployment)
    claimed = worker.claim(RACK)
    name = worker.start()
    worker.fulfil(order.id, name)
    agent_id = _register(deployment, name, order.id, claimed["bootstrap_token"])
    listed = deployment.operator.ask("GET", AGENTS)["agents"]
    assert [(agent["agent_id"], agent["order_id"]) for agent in listed] == [(agent_id, order.id)]


def a_machine_of_an_expired_claim(deployment: Deployment) -> None:
    """Have a worker report a machine after its claim expired and the launcher took the order.

    Both machines are to have an order; the answer does not name the new one.
    """
    freeze_launcher(deployment)
    a_machine()(deployment)
    worker = _a_worker(deployment)
    worker.claim(LOCAL)
    thaw_launcher(deployment)
    deployment.await_state(State.RUNNING)
    worker.fulfil(deployment.last, worker.start())
    for order in _await_orders(deployment, 2, lambda _order: True):
        deployment.expect(order.id, Ending(State.RUNNING))


def _set_target(deployment: Deployment, count: int) -> None:
    """Set how many machines the pool is to have, and reconcile at once."""
    target = {**LOCAL, "min_warm_count": count, "dispatch": True}
    deployment.operator.ask("PUT", TARGETS, json=target)
    deployment.operator.ask("POST", RECONCILE, json={"dispatch": True})


def _await_orders(deployment: Deployment, count: int, fit: Callable[[OrderView], bool]) -> Sequence[OrderView]:
    """Wait until this number of orders fits, and return them. Raises AssertionError if there are more."""

    def read() -> Sequence[OrderView] | None:
        found = [order for order in deployment.operator.orders() if fit(order)]
        return found if len(found) >= count else None

    found = await_value(read, f"{count} orders")
    assert len(found) == count, found
    return found


def _a_worker(deployment: Deployment) -> Worker:
    account = deployment.operator.ask("POST", ACCOUNTS, json={"name": f"rack {uuid4()}", "account_type": "launcher"})
    return Worker(deployment, deployment.client_of(account["api_key"]))


def _register(deployment: Deployment, vm_name: str, order_id: str, token: str) -> str:
    """Register the machine's agent with a quote that the control plane appraises; return the agent's id."""
    challenge = deployment.client.ask("GET", f"{AGENTS}/challenge", params={"vm_name": vm_name})
    report_data = bytes.fromhex(challenge["nonce"] + binding_of(token, AGENT_KEY))
    quote = replace(TRUSTED, report_data=report_data).pack()
    evidence = {"tdx": {"quote_b64": base64.b64encode(quote).decode()}}
    body = {**RACK, "vm_name": vm_name, "attestation": evidence}
    body |= {"bootstrap_order_id": order_id, "bootstrap_token": token}
    body["agent_key"] = base64.b64encode(AGENT_KEY).decode()
    agent_id: str = deployment.client.ask("POST", f"{AGENTS}/register", json=body)["agent_id"]
    return agent_id
