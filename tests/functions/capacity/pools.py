"""The capacity contract's pools in one line each: targets, reconciliation, purchases, and their orders."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from werkzeug.test import TestResponse

from functions.apis.capacity.chores import fill_pools
from functions.apis.capacity.settings import CapacitySettings
from functions.domain import request_ids
from functions.domain.accounts import NOBODY
from functions.domain.agents import Agent
from functions.domain.events import Register
from functions.domain.order import Order
from functions.engine.pools import Pools
from functions.ports.orders import OrderQuery
from shared.domain.order import State
from tests.functions.world import ADMIN, LAUNCHER, World, by_id

TARGETS = "/api/v1/admin/agents/capacity/targets"
RECONCILE = "/api/v1/admin/agents/capacity/reconcile"
DATACENTER = "gcp:us-central1-a"
POOL = {"datacenter": DATACENTER, "node_size": "tiny"}
ID = request_ids.pool(NOBODY, DATACENTER, "tiny")
LANE = "gcp:us-central1-a/capacity/tiny"
NO_DEMANDS = {"require_verified": False, "require_healthy": False, "require_hostname": False}


def put(world: World, body: Mapping[str, Any], key: str = ADMIN) -> TestResponse:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    return world.http.put(TARGETS, data=json.dumps(body), headers=headers)


def answer(response: TestResponse, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.get_json()
    return body


def refused(response: TestResponse, status: int) -> Any:
    assert response.content_type == "application/json"
    return answer(response, status)["detail"]


def aim(world: World, count: int = 2, **fields: Any) -> dict[str, Any]:
    return answer(put(world, {**POOL, "min_warm_count": count, "dispatch": True, **NO_DEMANDS, **fields}))


def reconcile(world: World, **body: Any) -> dict[str, Any]:
    return answer(world.post(RECONCILE, body, ADMIN))


def listed(world: World) -> list[dict[str, Any]]:
    body = answer(world.get(TARGETS, ADMIN))
    assert body["total"] == len(body["targets"])
    targets: list[dict[str, Any]] = body["targets"]
    return targets


def swept(world: World, limit: int = 200) -> dict[str, int]:
    settings = world.service(CapacitySettings)
    return dict(fill_pools(world.service(Pools), settings, limit))


def orders(world: World, *states: State) -> list[Order]:
    return list(world.ports.store.page(OrderQuery(states=frozenset(states), oldest_first=True, limit=500)).orders)


def alive(world: World) -> list[Order]:
    return [order for order in orders(world) if not order.final]


def run(world: World, order: Order, attended: bool = True) -> None:
    """Have a launcher take the order, and its machine come up."""
    assert world.post("/v1/claims", by_id(order.id, lanes=[LANE], attended=attended), LAUNCHER).get_json()["claimed"]
    assert world.update(order.id, "provisioning", order.epoch + 1, vm="vm-1").status_code == 200
    assert world.call_back(order.id, "started", order.epoch + 1).status_code == 200


def fail(world: World, order: Order) -> None:
    world.claim(order.id, lanes=[LANE])
    failure = {"reason": "image_rejected", "message": "no", "failure": "permanent"}
    assert world.update(order.id, "failed", order.epoch + 1, **failure).status_code == 200


def register(world: World, order: Order, agent_id: str = "agent-1", **changes: Any) -> None:
    now = world.clock.now
    agent = Agent(agent_id, f"vm-of-{agent_id}", DATACENTER, "tiny", "00", "1.0.0", now, now)
    world.ports.agents.add(agent.vm_name, replace(agent, **changes))
    epoch = world.order(order.id).epoch
    world.ports.store.apply(order.id, Register(agent_id, epoch, agent_id, agent.vm_name), now)


def buy(world: World, account: str, key: str, **body: Any) -> TestResponse:
    return world.post(f"/api/v1/accounts/{account}/capacity/request", body, key)
