"""The capacity contract's orders in one line each: placed, claimed, reported on."""

from datetime import timedelta
from typing import Any, NoReturn

from werkzeug.test import TestResponse

from functions.domain.refusals import Unavailable
from shared.domain.spec import CapacitySpec, NodeSize
from tests.functions.world import ADMIN, World

CLAIM = "/api/v1/launchers/capacity/orders/claim"
GCP = CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.TINY)
RACK = CapacitySpec(datacenter="baremetal:rack-7", node_size=NodeSize.STANDARD)
FIELDS = {
    *("order_id", "datacenter", "node_size", "status", "reason", "requested_count", "account_id"),
    *("claimed_by_account_id", "claim_expires_at", "claimed_at", "fulfilled_at", "vm_name", "error"),
    *("created_at", "updated_at"),
}


def claim(world: World, key: str, **filters: str) -> dict[str, Any]:
    answer = world.post(CLAIM, filters, key)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def report(world: World, key: str, order_id: str, status: str, **fields: Any) -> TestResponse:
    return world.post(f"/api/v1/launchers/capacity/orders/{order_id}", {"status": status, **fields}, key)


def reported(world: World, key: str, order_id: str, status: str, **fields: Any) -> dict[str, Any]:
    answer = report(world, key, order_id, status, **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def place(world: World, spec: CapacitySpec = GCP) -> str:
    order_id: str = world.place(spec)["id"]
    world.clock.now += timedelta(seconds=1)
    return order_id


def claimed(world: World, key: str, spec: CapacitySpec = GCP) -> str:
    order_id = place(world, spec)
    assert claim(world, key)["order"]["order_id"] == order_id
    return order_id


def lapse(world: World, seconds: float = 606) -> None:
    world.clock.now += timedelta(seconds=seconds)
    world.sweep()


def unavailable(*_: object, **__: object) -> NoReturn:
    raise Unavailable("The order store does not answer.")


def refused(answer: TestResponse, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    detail: str = answer.get_json()["detail"]
    return detail


def machines(world: World) -> list[tuple[str, str | None]]:
    orders = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    return [(order["status"], order["vm_name"]) for order in orders]
