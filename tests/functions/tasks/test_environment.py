"""The environment of a task's program, and who may have the operator's secrets in it."""

import json
from dataclasses import replace
from typing import Any, Final

import pytest
from werkzeug.test import TestResponse

from functions.engine.operator_secrets import OperatorSecrets
from functions.settings import OperatorSecretSettings
from shared.domain.spec import LogLevel, SecretName, TaskSpec
from shared.settings import read_or_exit
from tests.factories import TASK
from tests.functions.conftest import SETTINGS
from tests.functions.tasks.calls import IMAGE, allow_secret, held
from tests.functions.world import ADMIN, LAUNCHER, URL, World

KEY: Final = "ANTHROPIC_API_KEY"
WITH_KEY: Final = IMAGE.model_copy(update={"secrets": (SecretName.ANTHROPIC_API_KEY,)})


def asked(world: World, order_id: str, epoch: int = 1) -> TestResponse:
    """Ask as the launcher that starts the machine."""
    return world.post(f"/v1/environments/{order_id}", {"launcher": "alpha", "epoch": epoch}, LAUNCHER)


def placed(world: World, spec: TaskSpec) -> TestResponse:
    body = {"order": spec.model_dump(mode="json")}
    return world.post("/v1/orders", body, headers={"Idempotency-Key": "one"})


def test_an_image_finds_the_contracts_variables_and_its_arguments(world: World) -> None:
    task = held(world, IMAGE.model_copy(update={"log_level": LogLevel.DEBUG}))

    answer = asked(world, task).get_json()

    callback = f"{URL}/api/agents/callback/{task}/{world.ports.tokens.secret(task, 1)}"
    assert answer["variables"] == {
        "TASK_ID": task,
        "PROJECT_ID": "proj-456",
        "CALLBACK_URL": callback,
        "DESCARTES_TASK_ID": task,
        "DESCARTES_PROJECT_ID": "proj-456",
        "DESCARTES_CALLBACK_URL": callback,
        "RUST_LOG": "debug",
        "LOG_LEVEL": "debug",
    }
    assert answer["arguments"] == ["--task", task]


def test_a_command_in_our_own_worker_gets_them_once_the_worker_has_started(world: World) -> None:
    task = held(world, TASK)

    environment = world.call_back(task, "started").get_json()["environment"]

    assert (environment["TASK_ID"], environment["PROJECT_ID"]) == (task, "")
    path = environment["CALLBACK_URL"].removeprefix(URL)
    assert world.http.post(f"{path}/completed", data=json.dumps({"task_id": task})).get_json() == {"ok": True}
    assert world.view(task)["state"] == "succeeded"


def test_what_our_own_worker_reports_after_its_command_ended_the_order_is_refused_with_the_orders_state(
    world: World,
) -> None:
    """By it the worker knows that there is nothing left to do."""
    task = held(world, TASK)
    path = world.call_back(task, "started").get_json()["environment"]["CALLBACK_URL"].removeprefix(URL)
    world.http.post(f"{path}/completed", data=json.dumps({"task_id": task}))

    output: dict[str, Any] = {"file_name": "output.log", "content_type": "text/plain", "size": 1, "sha256": "0" * 64}
    refused = [
        world.call_back(task, "upload", **output),
        world.call_back(task, "completed", **output),
        world.call_back(task, "failed", reason="program_failed", message="", failure="permanent"),
    ]

    assert [(one.status_code, one.get_json()["state"]) for one in refused] == [(409, "succeeded")] * 3


def test_a_task_of_an_allowed_account_gets_the_secret_that_it_asks_for(world: World) -> None:
    allow_secret(world, "acme", value="sk-ant-1")

    assert asked(world, held(world, WITH_KEY)).get_json()["variables"][KEY] == "sk-ant-1"
    assert KEY not in asked(world, held(world, IMAGE)).get_json()["variables"]


@pytest.mark.parametrize("allowed", [(), ("globex",)])
def test_a_task_that_asks_for_a_secret_that_its_account_may_not_have_is_refused(
    world: World, allowed: tuple[str, ...]
) -> None:
    if allowed:
        allow_secret(world, *allowed)

    refused = placed(world, WITH_KEY)

    assert refused.status_code == 422
    [error] = refused.get_json()["errors"]
    assert error["field"] == "order.secrets.0"
    assert "ask the operator" in error["message"]
    assert world.get("/v1/orders", ADMIN).get_json()["orders"] == []


def test_a_task_whose_secret_was_withdrawn_meanwhile_fails_for_good_and_says_why(world: World) -> None:
    allow_secret(world, "acme")
    image, command = held(world, WITH_KEY), held(world, TASK.model_copy(update={"secrets": WITH_KEY.secrets}))
    world.ports = replace(world.ports, secrets=OperatorSecrets())

    assert asked(world, image).status_code == 409
    assert world.call_back(command, "started").status_code == 409

    for task in (image, command):
        view = world.view(task)
        assert (view["state"], view["reason"]) == ("failed", "program_failed")
        assert f"may not use {KEY}" in view["message"]


def test_the_operator_names_the_accounts_that_may_have_the_secret(settings: pytest.MonkeyPatch) -> None:
    for name, value in {**SETTINGS, KEY: "sk-ant-1", "LAUNCHYARD_ANTHROPIC_ACCOUNTS": " acme, globex,"}.items():
        settings.setenv(name, value)

    secrets = read_or_exit(OperatorSecretSettings).operator_secrets()

    assert secrets.of("globex", WITH_KEY) == {KEY: "sk-ant-1"}
    assert secrets.allowed[SecretName.ANTHROPIC_API_KEY].accounts == {"acme", "globex"}


def test_no_account_has_the_secret_unless_the_operator_names_it(settings: pytest.MonkeyPatch) -> None:
    for name, value in {**SETTINGS, KEY: "sk-ant-1"}.items():
        settings.setenv(name, value)

    assert (
        read_or_exit(OperatorSecretSettings).operator_secrets().allowed[SecretName.ANTHROPIC_API_KEY].accounts
        == frozenset()
    )
