"""Whole orders through the bundle's functions: one process for each, as the cloud runs them, and a real launcher."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from emulators.environment import ACCOUNT_OF
from emulators.mods import validate
from functions.domain.access import Role
from functions.domain.order import place
from functions.ports.orders import IdempotencyKey
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, NodeSize, TaskSpec
from shared.wire.orders import OrderView
from tests.crash.job_steps import JOB, JobLauncher
from tests.harness import plain_http
from tests.harness.clients import Client, download
from tests.harness.environment import export_source
from tests.harness.projects import Projects, sharing
from tests.harness.stack import await_order, in_state
from tests.harness.waiting import ANSWER_SECONDS, await_value
from tests.infra.deployment import Deployment, deployed
from tools.installed_bundle import InstalledBundle, install

pytestmark = [pytest.mark.infra, pytest.mark.emulator, pytest.mark.slow]

WORKER: Final = Path(__file__).parents[1] / "e2e" / "capacity_worker.py"
GCP: Final = CapacitySpec(datacenter="gcp:us-central1-a", node_size=NodeSize.TINY)
PRINTS: Final = TaskSpec(command=("/bin/sh", "-c", "echo made by the bundle"))
PRINTED: Final = b"made by the bundle\n"
IMAGE: Final = TaskSpec(image="registry.example/task:1")
PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
ENDED: Final = in_state(State.SUCCEEDED, State.FAILED, State.EXPIRED)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> InstalledBundle:
    return install(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def projects(firestore_host: str, pubsub_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projects]:
    with sharing(firestore_host, pubsub_host, tmp_path_factory.mktemp("environment")) as shared:
        shared.environment.start([export_source])
        yield shared


@pytest.fixture(scope="module")
def deployment(
    bundle: InstalledBundle, projects: Projects, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Every service as a function of its own, behind a load balancer."""
    with deployed(bundle, projects, tmp_path_factory.mktemp("deployment"), balanced=True) as running:
        yield running


def ended(client: Client, order_id: str) -> OrderView:
    return await_order(client.api, order_id, ENDED)


def create(client: Client, spec: TaskSpec | CapacitySpec) -> str:
    key = str(uuid4())
    return client.answer(lambda api: api.create_order(spec, key)).id


def test_a_bell_brings_an_order_to_a_launcher_and_its_output_to_the_client(deployment: Deployment) -> None:
    order = ended(deployment.client, create(deployment.client, PRINTS))

    assert (order.state, order.message) == (State.SUCCEEDED, None)
    assert download(deployment.client.api, order) == PRINTED
    assert {"orders", "claim", "update", "callback"} <= set(deployment.front.answered)


def test_a_worker_of_the_capacity_contract_fulfils_an_order(deployment: Deployment, tmp_path: Path) -> None:
    account = deployment.operator.ask("POST", "/api/v1/accounts", json={"name": "rack-7", "account_type": "launcher"})
    order_id = create(deployment.client, GCP)

    argv = [sys.executable, str(WORKER), "--cp-url", deployment.url, "--machines", str(tmp_path / "machines")]
    argv += ["--one-shot", "--node-size", "tiny"]
    key = {"LAUNCHER_API_KEY": account["api_key"]}
    worker = subprocess.run(argv, env=key, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)

    assert (worker.returncode, worker.stderr) == (0, "")
    assert deployment.client.read(order_id).state is State.RUNNING
    assert deployment.front.answered["capacity"] >= 3


def test_an_export_is_ordered_followed_and_downloaded_by_its_contract(deployment: Deployment, tmp_path: Path) -> None:
    client = deployment.client
    task_id = client.ask("POST", "/export/mods", json={"pi": PI, "options": {"recursive": False}})["task_id"]

    def finished() -> dict[str, Any] | None:
        status: dict[str, Any] = client.ask("GET", f"/status/{task_id}")
        return status if status["status"] != "processing" else None

    status = await_value(finished, "the end of the export")
    assert status["status"] == "success", status
    redirect = client.answer_to("GET", f"/download/{task_id}")
    assert redirect.status_code == httpx.codes.FOUND
    file = tmp_path / "export.xml"
    file.write_bytes(plain_http.get(redirect.headers["Location"], timeout=ANSWER_SECONDS).content)
    assert (validate(file), file.stat().st_size) == ([], status["output_file_size"])
    assert deployment.front.answered["exports"] >= 3


def test_an_agent_s_job_is_polled_for_and_reported(deployment: Deployment) -> None:
    job_id = deployment.client.ask("POST", "/jobs", json=JOB)["job_id"]
    registered = deployment.launcher.ask("POST", "/launcher/register", json={})
    launcher = JobLauncher(deployment.launcher, registered["launcher_id"])

    assert launcher.take() == job_id
    launcher.report(job_id, "started")
    launcher.report(job_id, "completed")

    job = plain_http.get(f"{deployment.url}/k/{deployment.key}/jobs/{job_id}", timeout=ANSWER_SECONDS)
    assert (job.status_code, job.json()["status"]) == (200, "completed")
    assert deployment.front.answered["jobs"] >= 6


def test_a_task_s_image_reports_at_the_address_that_it_was_given(deployment: Deployment) -> None:
    order_id, launcher = create(deployment.client, IMAGE), deployment.launcher
    claim = {"by": "id", "request_id": str(uuid4()), "launcher": "fly", "order_id": order_id}
    claimed = launcher.ask("POST", "/v1/claims", json=claim | {"lanes": ["any/task/image"]})["claimed"]
    asked = {"launcher": "fly", "epoch": claimed["epoch"]}
    address = launcher.ask("POST", f"/v1/environments/{order_id}", json=asked)["variables"]["CALLBACK_URL"]

    assert address.startswith(f"{deployment.url}/api/agents/callback/")
    for report in ("started", "completed"):
        answer = plain_http.post(f"{address}/{report}", json={"task_id": order_id}, timeout=ANSWER_SECONDS)
        assert (answer.status_code, answer.json()) == (200, {"ok": True})

    assert ended(deployment.client, order_id).state is State.SUCCEEDED
    assert deployment.front.answered["tasks"] == 2


def test_the_sweep_rings_for_an_order_whose_bell_was_lost_and_nobody_else_reaches_it(deployment: Deployment) -> None:
    order = place(str(uuid4()), ACCOUNT_OF[Role.CLIENT], PRINTS, datetime.now(UTC) - timedelta(minutes=1))
    deployment.store.create(order, IdempotencyKey(order.account, f"key {order.id}", "0" * 64))

    assert deployment.operator.answer_to("POST", "/v1/sweeps", json={}).status_code == httpx.codes.NOT_FOUND
    assert deployment.scheduler.ask("POST", "/v1/sweeps", json={})["rung"] == 1

    assert ended(deployment.client, order.id).state is State.SUCCEEDED


def test_without_a_load_balancer_one_function_serves_all_below_its_name(
    bundle: InstalledBundle, projects: Projects, tmp_path: Path
) -> None:
    with ExitStack() as cleanup:
        deployment = cleanup.enter_context(deployed(bundle, projects, tmp_path, balanced=False))
        order = ended(deployment.client, create(deployment.client, PRINTS))

        assert deployment.url.endswith("/launchyard-everything")
        assert order.state is State.SUCCEEDED
        assert download(deployment.client.api, order) == PRINTED
        assert set(deployment.front.answered) == {"everything"}
        assert deployment.scheduler.ask("POST", "/v1/sweeps", json={})["looked_at"] == 0
