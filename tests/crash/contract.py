"""What the capacity contract's people do in a scenario: operators with pools, workers, and agents in their machines."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from emulators.settings import DATACENTER
from shared.domain.order import FINAL, State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize
from shared.wire.orders import OrderView
from tests.crash.acts import Act, a_machine, freeze_launcher, thaw_launcher
from tests.crash.client import Client
from tests.crash.stage import GENUINE, Ending, Stage
from tests.crash.waiting import await_value

TARGETS: Final = "/api/v1/admin/agents/capacity/targets"
RECONCILE: Final = "/api/v1/admin/agents/capacity/reconcile"
ACCOUNTS: Final = "/api/v1/accounts"
ORDERS: Final = "/api/v1/launchers/capacity/orders"
AGENTS: Final = "/api/v1/agents"
PLACE: Final = {"datacenter": DATACENTER, "node_size": NodeSize.TINY.value}
RACK: Final = {"datacenter": "baremetal:rack-7", "node_size": NodeSize.TINY.value}
"""Where only workers of the contract claim."""
ATTESTED: Final = CapacitySpec(datacenter=RACK["datacenter"], node_size=NodeSize.TINY, attestation=Attestation.REQUIRED)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of the contract, with an account of its own. What it starts is one line of the stage's."""

    stage: Stage
    api: Client

    def claim(self, place: dict[str, str]) -> dict[str, Any]:
        """Return the answer that has an order, once there is one."""
        return await_value(lambda: self._claim(place), "an order for a worker")

    def start(self) -> str:
        """Start a machine, and return its name."""
        self.stage.elsewhere.append(f"tdvirsh-trust_domain_verity-{uuid4()}")
        return self.stage.elsewhere[-1]

    def fulfil(self, order_id: str, vm_name: str) -> None:
        """Report the order as fulfilled by this machine."""
        self.api.ask("POST", f"{ORDERS}/{order_id}", HTTPStatus.OK, json={"status": "fulfilled", "vm_name": vm_name})

    def _claim(self, place: dict[str, str]) -> dict[str, Any] | None:
        answer: dict[str, Any] = self.api.ask("POST", f"{ORDERS}/claim", HTTPStatus.OK, json=place).json()
        return answer if answer["claimed"] else None


def a_pool(count: int) -> Act:
    """Have the operator want so many machines: so many orders there are to be, and all of them are to run."""

    def act(stage: Stage) -> None:
        _aim(stage, count)
        for order in _as_many(stage, count, lambda _order: True):
            stage.expect(order.id, Ending(State.RUNNING))

    return act


def lower(count: int) -> Act:
    """Have the operator want only so many machines: of the pool's others those that run are given back, the rest never
    do."""

    def act(stage: Stage) -> None:
        given = len(stage.endings) - count
        _aim(stage, count)
        for order in _as_many(stage, given, lambda order: order.cancel_requested or order.state in FINAL):
            stage.expect(order.id, Ending(State.SUCCEEDED if State.RUNNING in order.entered else State.CANCELLED))

    return act


def until_all_run(stage: Stage) -> None:
    _as_many(stage, len(stage.endings), lambda order: order.state is State.RUNNING)


def an_attested_machine(stage: Stage) -> None:
    """Have a worker start a machine whose agent must register before its order runs."""
    order = stage.client.place(ATTESTED, f"key {uuid4()}")
    stage.expect(order.id, Ending(State.RUNNING))
    worker = _a_worker(stage)
    claimed = worker.claim(RACK)
    name = worker.start()
    worker.fulfil(order.id, name)
    agent_id = _register(stage, name, order.id, claimed["bootstrap_token"])
    listed = stage.operator.ask("GET", AGENTS, HTTPStatus.OK).json()["agents"]
    assert [(agent["agent_id"], agent["order_id"]) for agent in listed] == [(agent_id, order.id)]


def a_machine_that_comes_late(stage: Stage) -> None:
    """Have a worker come with its machine when its order is the launcher's by now: both machines are to have an order.

    The answer does not name the new one.
    """
    freeze_launcher(stage)
    a_machine()(stage)
    worker = _a_worker(stage)
    worker.claim(PLACE)
    thaw_launcher(stage)
    stage.await_state(State.RUNNING)
    worker.fulfil(stage.last, worker.start())
    for order in _as_many(stage, 2, lambda _order: True):
        stage.expect(order.id, Ending(State.RUNNING))


def _aim(stage: Stage, count: int) -> None:
    """Say how many machines there are to be, and have that seen to at once."""
    target = {**PLACE, "min_warm_count": count, "dispatch": True}
    stage.operator.ask("PUT", TARGETS, HTTPStatus.OK, json=target)
    stage.operator.ask("POST", RECONCILE, HTTPStatus.OK, json={"dispatch": True})


def _as_many(stage: Stage, count: int, counts: Callable[[OrderView], bool]) -> Sequence[OrderView]:
    """Return the orders that count, once they are as many. Raises AssertionError where they are more."""

    def look() -> Sequence[OrderView] | None:
        found = [order for order in stage.operator.orders() if counts(order)]
        return found if len(found) >= count else None

    found = await_value(look, f"{count} orders")
    assert len(found) == count, found
    return found


def _a_worker(stage: Stage) -> Worker:
    body = {"name": f"rack {uuid4()}", "account_type": "launcher"}
    account = stage.operator.ask("POST", ACCOUNTS, HTTPStatus.OK, json=body).json()
    return Worker(stage, stage.worker(account["api_key"]))


def _register(stage: Stage, vm_name: str, order_id: str, token: str) -> str:
    """Have the machine's agent register, by a quote that the control plane has appraised; return the agent's id."""
    challenge = stage.client.ask("GET", f"{AGENTS}/challenge", HTTPStatus.OK, params={"vm_name": vm_name}).json()
    quote = replace(GENUINE, report_data=bytes.fromhex(challenge["nonce"])).pack()
    evidence = {"tdx": {"quote_b64": base64.b64encode(quote).decode()}}
    body = {**RACK, "vm_name": vm_name, "attestation": evidence}
    body |= {"bootstrap_order_id": order_id, "bootstrap_token": token}
    agent_id: str = stage.client.ask("POST", f"{AGENTS}/register", HTTPStatus.OK, json=body).json()["agent_id"]
    return agent_id
