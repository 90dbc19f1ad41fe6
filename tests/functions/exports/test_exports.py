"""A client orders an export and follows it, in the contract's words."""

import json
import re
from typing import Any, Final

import pytest

from functions.domain.limits import DAY
from functions.domain.refusals import Unavailable
from shared.domain.order import State
from shared.domain.spec import ExportOptions
from tests.factories import EXPORT, NOW, TASK
from tests.functions.exports.client import METRICS, NAME, PI, Machine, configure, launch, of_images, start, status
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, STRANGER, World
from tests.meanwhile import Failing

TASK_ID: Final = re.compile(r"export_mods_[0-9]{13}_[0-9a-f]{8}")
NOW_MS: Final = int(NOW.timestamp() * 1000)


def test_the_example_of_the_contract_as_it_stands(world: World) -> None:
    answer = world.post("/export/mods", {"pi": PI, "options": {"recursive": False}})

    started = answer.get_json()
    assert answer.status_code == 200
    assert started == {
        "task_id": started["task_id"],
        "status": "processing",
        "message": "Export job started. Use task_id to check status.",
    }
    assert TASK_ID.fullmatch(started["task_id"])
    assert status(world, started["task_id"]) == {
        "task_id": started["task_id"],
        "status": "processing",
        "pi": PI,
        "created_at": NOW_MS,
    }


def test_an_export_is_an_order_with_the_contracts_limits(world: World) -> None:
    configure(world, LAUNCHYARD_EXPORT_RUN_SECONDS=300)
    task_id = start(world, recursive=True, maxDepth=2, includeOcr=False, cheimarrosMode="minimal", validate=True)

    order = world.order(task_id)
    assert order.account == "acme"
    assert (order.limits.run_seconds, order.limits.keep_seconds) == (300, DAY)
    assert order.spec == EXPORT.model_copy(
        update={
            "pi": PI,
            "options": ExportOptions(recursive=True, max_depth=2, include_ocr=False, cheimarros_mode="minimal"),
        }
    )
    assert [view["id"] for view in world.get("/v1/orders").get_json()["orders"]] == [task_id]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Missing required field: pi"),
        ({"pi": ""}, "Missing required field: pi"),
        ({"pi": None}, "Missing required field: pi"),
        ({"pi": "short"}, "Invalid field pi: "),
        ({"pi": 3}, "Invalid field pi: "),
        ({"pi": PI, "options": {"maxDepth": -1}}, "Invalid field options.maxDepth: "),
        ({"pi": PI, "options": {"maxDepth": "2"}}, "Invalid field options.maxDepth: "),
        ({"pi": PI, "options": {"recursive": "yes"}}, "Invalid field options.recursive: "),
        ({"pi": PI, "options": {"cheimarrosMode": "some"}}, "Invalid field options.cheimarrosMode: "),
        ({"pi": PI, "options": {"max_depth": 2}}, "Unknown field: options.max_depth"),
        ({"pi": PI, "option": {}}, "Unknown field: option"),
        ([], "Invalid field (body): "),
    ],
)
def test_a_wrong_body_is_refused_with_the_field_as_the_client_wrote_it(world: World, body: Any, error: str) -> None:
    answer = world.post("/export/mods", body)

    assert answer.status_code == 400
    assert list(answer.get_json()) == ["error"]
    assert answer.get_json()["error"].startswith(error), answer.text
    assert world.get("/v1/orders").get_json()["orders"] == []


def test_what_is_not_json_is_refused_with_400(world: World) -> None:
    headers = {"Authorization": f"Bearer {CLIENT}"}

    answer = world.http.post("/export/mods", data=b"{pi", headers=headers)

    assert answer.status_code == 400
    assert "JSON" in answer.get_json()["error"]


def test_a_repeat_with_one_idempotency_key_is_one_export_and_without_one_another(world: World) -> None:
    keyed = [world.post("/export/mods", {"pi": PI}, headers={"Idempotency-Key": "one"}).get_json() for _ in range(2)]
    unkeyed = [start(world) for _ in range(2)]

    assert keyed[0]["task_id"] == keyed[1]["task_id"]
    assert len({keyed[0]["task_id"], *unkeyed}) == 3


def test_an_idempotency_key_of_another_export_is_refused(world: World) -> None:
    headers = {"Idempotency-Key": "one"}
    world.post("/export/mods", {"pi": PI}, headers=headers)

    answer = world.post("/export/mods", {"pi": PI, "options": {"recursive": True}}, headers=headers)

    assert answer.status_code == 409
    assert "Idempotency-Key" in answer.get_json()["error"]


def test_an_export_is_stored_before_anybody_learns_of_it(world: World) -> None:
    world.bells.broken = True

    assert status(world, start(world))["status"] == "processing"


def test_a_task_shows_what_its_machine_reported(world: World, machine: Machine) -> None:
    world.clock.wait(4)
    machine.finish()

    assert status(world, machine.task_id) == {
        "task_id": machine.task_id,
        "status": "success",
        "pi": PI,
        "created_at": NOW_MS,
        "completed_at": NOW_MS + 4000,
        "output_r2_key": machine.key,
        "output_file_name": NAME,
        "output_file_size": 21,
        "metrics": METRICS,
    }


def test_a_failed_task_says_why(world: World, machine: Machine) -> None:
    machine.call_back(machine.error())

    failed = status(world, machine.task_id)
    assert (failed["status"], failed["error"]) == ("error", "Failed to fetch manifest: 404 Not Found")
    assert failed["completed_at"] == NOW_MS


def test_a_cancelled_task_is_an_error(world: World) -> None:
    task_id = start(world)
    assert world.post(f"/v1/orders/{task_id}/cancel").status_code == 200

    cancelled = status(world, task_id)

    assert (cancelled["status"], cancelled["error"]) == ("error", "The export ended: cancelled")


def test_progress_is_shown_once_it_is_known(world: World) -> None:
    of_images(world)
    machine = launch(world)
    assert world.call_back(machine.task_id, "progress", progress={"entities_done": 3}).status_code == 200

    assert status(world, machine.task_id)["progress"] == {"entities_done": 3}


def test_an_export_of_the_native_api_is_a_task_here_and_other_orders_are_not(world: World) -> None:
    export, task = (str(world.place(spec)["id"]) for spec in (EXPORT, TASK))

    assert status(world, export)["pi"] == EXPORT.pi
    assert world.get(f"/status/{task}").get_json() == {"error": "Task not found"}


@pytest.mark.parametrize("path", ["/status/{}", "/download/{}"])
@pytest.mark.parametrize("task_id", ["another", "export_mods_1763059915123_a3f8c2d1", "a%20b", "x" * 200])
def test_a_task_that_there_is_not_is_not_found(world: World, path: str, task_id: str) -> None:
    answer = world.get(path.format(task_id))

    assert (answer.status_code, answer.get_json()) == (404, {"error": "Task not found"})


def test_another_accounts_task_is_not_found_and_an_operator_finds_every_task(world: World) -> None:
    task_id = start(world)

    assert world.get(f"/status/{task_id}", STRANGER).get_json() == {"error": "Task not found"}
    assert status(world, task_id, ADMIN)["pi"] == PI


@pytest.mark.parametrize(("method", "path"), [("GET", "/export/mods"), ("POST", "/health"), ("GET", "/export/other")])
def test_anything_else_is_not_found(world: World, method: str, path: str) -> None:
    answer = world.http.open(path, method=method, headers={"Authorization": f"Bearer {CLIENT}"})

    assert (answer.status_code, answer.get_json()) == (404, {"error": "Not found"})


def test_health_needs_no_key(world: World) -> None:
    assert world.get("/health", "").get_json() == {"status": "ok", "service": "arke-export-orchestrator"}


def test_a_key_is_needed_unless_the_deployment_is_open_to_an_account(world: World) -> None:
    assert world.post("/export/mods", {"pi": PI}, "").status_code == 401
    assert world.post("/export/mods", {"pi": PI}, LAUNCHER).status_code == 403

    configure(world, LAUNCHYARD_EXPORTS_OPEN_TO="globex")
    task_id = start(world, key="")

    assert world.order(task_id).account == "globex"
    assert status(world, task_id, "") == status(world, task_id, STRANGER)
    assert world.get(f"/status/{task_id}", CLIENT).status_code == 404
    assert world.get(f"/status/{task_id}", "ly_unknown").status_code == 401


def test_a_store_that_does_not_answer_is_503_in_the_contracts_form(world: World, failing: Failing) -> None:
    failing(world.ports.store, "create", Unavailable("The order store does not answer."))

    answer = world.post("/export/mods", {"pi": PI})

    assert (answer.status_code, answer.get_json()) == (503, {"error": "The order store does not answer."})


def test_times_are_milliseconds_and_no_member_is_null(world: World) -> None:
    task_id = start(world)

    assert "null" not in json.dumps(status(world, task_id))
    assert world.order(task_id).state is State.QUEUED
