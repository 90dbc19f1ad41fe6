"""Many exports with one request: the record of all comes first, and then each of them, whatever fails in between."""

import itertools
from collections import Counter
from datetime import timedelta
from typing import Any, Final

import pytest
from werkzeug.test import TestResponse

from functions.domain.batches import KEPT, MAX_TASKS
from functions.domain.order import Order
from functions.domain.refusals import Unavailable
from functions.ports.orders import IdempotencyKey, Snapshot
from shared.domain.order import State
from tests.functions.exports.client import OTHER_PI, PI, launch, of_images, status
from tests.functions.exports.test_exports import TASK_ID
from tests.functions.world import CLIENT, STRANGER, World

PIS: Final = [PI, OTHER_PI, "01K9MHWHERWJWJX7CVV4QMB03Q"]


def post(world: World, body: object, key: str = CLIENT, **headers: str) -> TestResponse:
    return world.post("/export/mods/batch", body, key, headers)


def start(world: World, pis: list[str] | None = None, idempotency_key: str | None = None) -> dict[str, Any]:
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    answer = post(world, {"pis": pis or PIS, "options": {"maxDepth": 1}}, **headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def look(world: World, batch_id: str) -> dict[str, Any]:
    answer = world.get(f"/status/batch/{batch_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


def numbered(count: int) -> list[str]:
    return [f"01K9Z3K4GMDWTT0VQXYSPC{number:04}" for number in range(count)]


def test_a_batch_is_an_export_of_each_entity(world: World) -> None:
    started = start(world)

    assert (started["status"], started["total"]) == ("processing", 3)
    assert all(TASK_ID.fullmatch(task_id) for task_id in started["task_ids"])
    assert [status(world, task_id)["pi"] for task_id in started["task_ids"]] == PIS
    assert look(world, started["batch_id"]) == {
        "batch_id": started["batch_id"],
        "status": "processing",
        "created_at": int(world.clock.now.timestamp() * 1000),
        "total": 3,
        "counts": {"processing": 3, "success": 0, "error": 0},
        "tasks": [
            {"task_id": task_id, "pi": pi, "status": "processing"}
            for task_id, pi in zip(started["task_ids"], PIS, strict=True)
        ],
    }


def test_a_batch_ends_with_its_last_task(world: World) -> None:
    of_images(world)
    first, second = start(world, PIS[:2])["task_ids"], start(world, PIS[:2])
    for task_id in first:
        machine = launch(world, task_id)
        assert machine.environment["BATCH_ID"] != "single"
        machine.finish()
    failing, waiting = second["task_ids"]
    machine = launch(world, failing)
    machine.call_back(machine.error())

    batch_id = machine.environment["BATCH_ID"]
    assert batch_id == second["batch_id"]
    assert look(world, batch_id)["status"] == "processing"
    launch(world, waiting).finish()
    assert look(world, batch_id)["counts"] == {"processing": 0, "success": 1, "error": 1}
    assert look(world, batch_id)["status"] == "error"
    assert look(world, world.order(first[0]).spec.batch)["status"] == "success"  # type: ignore[union-attr, arg-type]


def test_the_largest_batch_has_500_exports_of_different_ids(world: World) -> None:
    started = start(world, numbered(MAX_TASKS))

    assert len(set(started["task_ids"])) == MAX_TASKS
    assert look(world, started["batch_id"])["counts"]["processing"] == MAX_TASKS
    assert Counter(world.bells.rung) == Counter(started["task_ids"])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Missing required field: pis"),
        ({"pis": []}, "Invalid field pis: "),
        ({"pis": [PI, "short"]}, "Invalid field pis.1: "),
        ({"pis": [PI, OTHER_PI, PI]}, "Invalid field pis.2: it is in the list already"),
        ({"pis": [PI], "options": {"depth": 1}}, "Unknown field: options.depth"),
        ({"pis": numbered(MAX_TASKS + 1)}, "Invalid field pis: "),
    ],
)
def test_a_wrong_batch_is_refused_as_a_whole(world: World, body: object, error: str) -> None:
    answer = post(world, body)

    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith(error)
    assert world.get("/v1/orders").get_json()["orders"] == []


def test_a_repeat_with_one_idempotency_key_is_one_batch(world: World) -> None:
    key = {"Idempotency-Key": "one"}

    first = start(world, idempotency_key="one")
    world.clock.now += timedelta(minutes=1)
    again = start(world, idempotency_key="one")

    assert again == first
    assert len(world.get("/v1/orders").get_json()["orders"]) == 3
    assert post(world, {"pis": PIS[:1]}, **key).status_code == 409
    assert post(world, {"pis": PIS[:1]}, STRANGER, **key).status_code == 200


def test_another_accounts_batch_is_not_found(world: World) -> None:
    batch_id = start(world)["batch_id"]

    for key, path in ((STRANGER, batch_id), (CLIENT, "none"), (CLIENT, "a%20b")):
        answer = world.get(f"/status/batch/{path}", key)
        assert (answer.status_code, answer.get_json()) == (404, {"error": "Batch not found"})


def test_the_sweep_creates_what_a_failing_store_did_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    create = world.ports.store.create
    calls = itertools.count()

    def failing_after_one(order: Order, key: IdempotencyKey) -> Snapshot:
        if next(calls) > 0:
            raise Unavailable("The order store does not answer.")
        return create(order, key)

    monkeypatch.setattr(world.ports.store, "create", failing_after_one)
    started = start(world)
    assert look(world, started["batch_id"])["counts"]["processing"] == 3
    assert len(world.get("/v1/orders").get_json()["orders"]) == 1

    monkeypatch.setattr(world.ports.store, "create", create)
    assert world.sweep()["created"] == 0
    world.clock.now += timedelta(seconds=11)
    assert world.sweep()["created"] == 2
    assert {view["id"] for view in world.get("/v1/orders").get_json()["orders"]} == set(started["task_ids"])
    world.clock.now += timedelta(minutes=1)
    assert world.sweep()["created"] == 0


def test_a_task_that_its_client_purged_is_not_created_again(world: World) -> None:
    started = start(world)
    purged = started["task_ids"][0]
    world.post(f"/v1/orders/{purged}/cancel")
    assert world.delete(f"/v1/orders/{purged}").status_code == 204

    world.clock.now += timedelta(days=2)
    assert world.sweep()["created"] == 0

    assert [task["task_id"] for task in look(world, started["batch_id"])["tasks"]] == started["task_ids"][1:]


def test_a_batch_is_forgotten_a_week_after_its_last_task_ended(world: World) -> None:
    of_images(world)
    started = start(world, [PI])
    batch_id, task_id = started["batch_id"], started["task_ids"][0]
    launch(world, task_id).finish()

    def days_pass(days: int) -> int:
        forgotten = 0
        for _ in range(days):
            world.clock.now += timedelta(days=1)
            forgotten += world.sweep()["records_forgotten"]
        return forgotten

    assert days_pass(KEPT.days - 1) == 0
    assert look(world, batch_id)["status"] == "success"
    assert days_pass(2) == 1
    assert world.get(f"/status/batch/{batch_id}").status_code == 404
    assert world.order(task_id).state is State.SUCCEEDED
