"""Tasks that a launcher holds, and the callbacks that their workers send."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import SecretStr
from werkzeug.test import TestResponse

from functions.apis.tasks.settings import TasksSettings
from functions.domain.limits import OrderLimits
from functions.engine.operator_secrets import AllowedSecret, OperatorSecrets
from functions.engine.orders import NewOrder, Orders
from shared.domain.spec import AnySpec, SecretName, TaskSpec
from tests.functions.world import World

BASE: Final = "/api/agents/callback"
IMAGE: Final = TaskSpec(image="registry.fly.io/descartes-workers:latest", project_id="proj-456")
LANES: Final = ["any/task", "any/task/image", "any/task/secrets", "any/export"]
STARTED: Final = {"project_id": "proj-456", "status": "started"}
COMPLETED: Final = {"status": "completed", "message": "done"}
FAILED: Final = {"status": "failed", "error": "no such file", "exit_code": 3}
BODIES: Final[Mapping[str, Mapping[str, Any]]] = {"started": STARTED, "completed": COMPLETED, "failed": FAILED}


def held(world: World, spec: AnySpec = IMAGE) -> str:
    """Return the id of an order that a launcher has claimed."""
    order_id = str(world.place(spec)["id"])
    claim(world, order_id)
    return order_id


def held_as(world: World, order_id: str) -> None:
    """Have a launcher hold a task of this id, as a contract whose ids have a form of their own places it."""
    new = NewOrder("acme", IMAGE, OrderLimits(), None, f"key of {order_id}", "0" * 64, order_id)
    world.service(Orders).create(new)
    claim(world, order_id)


def claim(world: World, order_id: str) -> None:
    assert world.claim(order_id, lanes=LANES) is not None


def address(world: World, order_id: str, callback: str, epoch: int = 1) -> str:
    return f"{BASE}/{order_id}/{world.ports.tokens.secret(order_id, epoch)}/{callback}"


def report(world: World, order_id: str, callback: str, epoch: int = 1, **members: Any) -> TestResponse:
    """Report as the worker in the machine of this epoch does."""
    body = {"task_id": order_id, **BODIES[callback], **members}
    return send(world, address(world, order_id, callback, epoch), body)


def send(world: World, path: str, body: object) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body)
    return world.http.post(path, data=data, headers={"Content-Type": "application/json"})


def open_callbacks(world: World) -> None:
    """Allow callbacks without a secret."""
    settings = world.settings[TasksSettings]
    assert isinstance(settings, TasksSettings)
    world.settings = {**world.settings, TasksSettings: settings.model_copy(update={"open_callbacks": True})}


def allow_secret(world: World, *accounts: str, value: str = "sk-ant-of-the-operator") -> None:
    """Let these accounts' tasks have the operator's key for Anthropic's API."""
    allowed = AllowedSecret(SecretStr(value), frozenset(accounts))
    world.ports = replace(world.ports, secrets=OperatorSecrets({SecretName.ANTHROPIC_API_KEY: allowed}))
