"""The steps of a scenario by workers of the contract of ephemeral workers, which report by themselves."""

from typing import Final
from uuid import uuid4

from shared.domain.order import State
from shared.domain.spec import TaskSpec
from shared.wire.launchers import ClaimById, EnvironmentRequest
from tests.crash.deployment import Deployment, Ending
from tests.crash.steps import Step
from tests.harness.clients import Client

IMAGE: Final = TaskSpec(image="registry.fly.io/descartes-workers:latest")
LANE: Final = "any/task/image"
ACCOUNTS: Final = "/api/v1/accounts"
NAME: Final = "beta"


def a_reported_task(*callbacks: str, ends: State) -> Step:
    """Place a task that names an image, claim it, and send these callbacks from its machine, one after the other.

    Each is repeated until it is answered. The task leaves no output.
    """

    def step(deployment: Deployment) -> None:
        key = f"key {uuid4()}"
        order = deployment.client.answer(lambda api: api.create_order(IMAGE, key))
        deployment.expect(order.id, Ending(ends))
        launcher = _a_launcher(deployment)
        claim = ClaimById(request_id=str(uuid4()), launcher=NAME, order_id=order.id, lanes=(LANE,), attended=False)
        claimed = launcher.answer(lambda api: api.claim(claim)).claimed
        assert claimed is not None
        asked = EnvironmentRequest(launcher=NAME, epoch=claimed.epoch)
        variables = launcher.answer(lambda api: api.environment(order.id, asked)).variables
        path = variables["CALLBACK_URL"].removeprefix(deployment.client.url)
        for callback in callbacks:
            answer = deployment.client.ask("POST", f"{path}/{callback}", json={"task_id": order.id})
            assert answer["ok"] is True

    return step


def _a_launcher(deployment: Deployment) -> Client:
    """Return a client of another launcher, whose machines are no processes on this host."""
    scope = ["*", "any", "secrets"]
    asked = {"name": f"fly {uuid4()}", "account_type": "launcher", "datacenters": scope}
    account = deployment.operator.ask("POST", ACCOUNTS, json=asked)
    return deployment.client_of(account["api_key"])
