"""The steps of a scenario by a client of the exports contract, and by the machines of its images."""

from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from emulators.settings import BUCKET
from shared.domain.order import State
from tests.crash.deployment import Deployment, Ending
from tests.crash.steps import Step
from tests.harness import plain_http
from tests.harness.clients import TIMEOUT, Client
from tests.harness.waiting import await_value

LAUNCHER_KEY: Final = "LAUNCHYARD_LAUNCHER_KEY"
HOST: Final = "host-of-images"
FILE: Final = b"<mods/>"


def a_batch(count: int) -> Step:
    """Order exports with one request, which is not repeated if the control plane dies: all of them are to exist."""

    def step(deployment: Deployment) -> None:
        deployment.client.orders()  # once this is answered, the control plane is up
        pis = [f"01K9Z3K4GMDWTT0VQXYSPC{number:04}" for number in range(count)]
        with suppress(httpx.TransportError):
            plain_http.post(f"{deployment.client.url}/export/mods/batch", json={"pis": pis}, timeout=TIMEOUT)
        orders = await_value(lambda: _all(deployment, count), f"{count} exports")
        for order_id in orders:
            deployment.expect(order_id, Ending(State.SUCCEEDED, FILE))

    return step


def images_report(deployment: Deployment) -> None:
    """Have a machine of the image of each export upload a file and report it."""
    launcher = deployment.client_of(deployment.projects.environment.variables[LAUNCHER_KEY])
    for named in deployment.endings:
        order_id, environment = _claimed(launcher, named)
        key = f"exports/{order_id}/{environment['PI']}.xml"
        with deployment.projects.environment.bucket() as bucket:
            bucket.put_object(Bucket=BUCKET, Key=key, Body=FILE)
        report = {"task_id": order_id, "status": "success", "output_r2_key": key}
        answer = launcher.ask("POST", urlsplit(environment["CALLBACK_URL"]).path, json=report)
        assert answer == {"received": True}


def _all(deployment: Deployment, count: int) -> list[str] | None:
    found = [order.id for order in deployment.operator.orders()]
    return found if len(found) == count else None


def _claimed(launcher: Client, named: str) -> tuple[str, dict[str, Any]]:
    """Claim the export, or another whose turn it is; return its id and its image's environment."""
    lanes = ["any/export/image"]
    claim = {"by": "id", "request_id": f"claim-{named}", "launcher": HOST, "order_id": named, "lanes": lanes}
    claimed = launcher.ask("POST", "/v1/claims", json=claim)["claimed"]
    order_id: str = claimed["order_id"]
    asked = {"launcher": HOST, "epoch": claimed["epoch"]}
    variables: dict[str, Any] = launcher.ask("POST", f"/v1/environments/{order_id}", json=asked)["variables"]
    return order_id, variables
