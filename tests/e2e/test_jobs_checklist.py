"""The testing checklist of the agent-jobs contract, line by line, over HTTP against a real process of the functions."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server, stop
from emulators.services import start_functions
from shared.http_client import open_client
from tests.harness.waiting import await_value

ACCOUNT: Final = "developer"
JOB: Final = {"type": "start_session", "session_name": "survey-1", "prompt": "Summarise the notes"}
METADATA: Final = {"hostname": "bench-2", "project_dir": "/srv/work", "executor_type": "test-executor"}
DASHBOARD: Final = {"Origin": "http://localhost:3000"}
CLIENT_SECONDS: Final = 35.0
"""How long a launcher of the contract waits for any answer."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    environment = {
        "LAUNCHYARD_BACKEND": "memory",
        "LAUNCHYARD_URL": url,
        "LAUNCHYARD_CALLBACK_SECRET": str(uuid4()),
        "LAUNCHYARD_BUCKET": "s3://outputs",
        "LAUNCHYARD_S3_ENDPOINT": f"http://{LOOPBACK}:1",
        "LAUNCHYARD_S3_ACCESS_KEY_ID": "local",
        "LAUNCHYARD_S3_SECRET_ACCESS_KEY": str(uuid4()),
        "LAUNCHYARD_JOBS_OPEN_TO": ACCOUNT,
        "LAUNCHYARD_KEYS": json.dumps([]),
    }
    server = start_functions(port, tmp_path_factory.mktemp("functions"), environment)
    yield server, url
    stop(server)


@pytest.fixture
def http(server: tuple[Server, str]) -> Iterator[httpx.Client]:
    with open_client(server[1], timeout=CLIENT_SECONDS) as http:
        yield http


def create(http: httpx.Client) -> str:
    answer = http.post("/jobs", json=JOB)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    job_id: str = answer.json()["job_id"]
    assert re.fullmatch(r"job_[0-9a-f]{12}", job_id)
    return job_id


def register(http: httpx.Client) -> str:
    answer = http.post("/launcher/register", json=METADATA)
    assert answer.status_code == 200
    launcher_id: str = answer.json()["launcher_id"]
    return launcher_id


def poll(http: httpx.Client, launcher_id: str) -> dict[str, Any]:
    """Poll until something comes, as a launcher does."""
    while (answer := http.get("/launcher/jobs", params={"launcher_id": launcher_id})).status_code == 204:
        pass
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def report(http: httpx.Client, launcher_id: str, job_id: str, kind: str, **fields: str) -> None:
    answer = http.post(f"/launcher/jobs/{job_id}/{kind}", json={"launcher_id": launcher_id, **fields})
    assert (answer.status_code, answer.json()) == (200, {"ok": True})


def status(http: httpx.Client, job_id: str) -> str:
    return str(http.get(f"/jobs/{job_id}").json()["status"])


def test_the_checklist(http: httpx.Client) -> None:
    # Create a job via `POST /jobs`
    job_id = create(http)

    # Query job via `GET /jobs/{job_id}` - shows pending
    assert status(http, job_id) == "pending"

    # Register launcher via `POST /launcher/register`
    registered = http.post("/launcher/register")
    assert registered.json().keys() == {
        "launcher_id",
        "poll_endpoint",
        "poll_timeout_seconds",
        "heartbeat_interval_seconds",
    }
    launcher_id = registered.json()["launcher_id"]

    # Poll for job - receives the created job
    job = poll(http, launcher_id)["job"]
    assert (job["job_id"], job["type"], job["session_name"], job["prompt"]) == (job_id, *JOB.values())
    assert status(http, job_id) == "claimed"

    # Report started/completed - job status updates
    report(http, launcher_id, job_id, "started")
    assert status(http, job_id) == "running"
    report(http, launcher_id, job_id, "completed", status="success")
    assert status(http, job_id) == "completed"

    # Dashboard still works (unchanged)
    created = http.post("/jobs", json=JOB | {"session_name": "from-the-dashboard"}, headers=DASHBOARD)
    listed = http.get("/launchers", headers=DASHBOARD)
    assert launcher_id in [one["launcher_id"] for one in listed.json()["launchers"]]
    deregistered = http.delete(f"/launchers/{launcher_id}", headers=DASHBOARD)
    assert deregistered.json()["initiated_by"] == "external"
    for answer in (created, listed, deregistered):
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, DASHBOARD["Origin"])
    assert poll(http, launcher_id) == {"deregistered": True}
    assert http.post("/jobs/" + created.json()["job_id"] + "/stop").json()["status"] == "stopped"


def test_a_poll_that_waits_gets_a_job_a_stop_and_a_deregistration(
    http: httpx.Client, server: tuple[Server, str]
) -> None:
    launcher_id = register(http)
    with ThreadPoolExecutor(1) as pool, open_client(server[1], timeout=CLIENT_SECONDS) as other:
        waiting = pool.submit(poll, other, launcher_id)
        job_id = create(http)
        assert waiting.result()["job"]["job_id"] == job_id
        report(http, launcher_id, job_id, "started")

        waiting = pool.submit(poll, other, launcher_id)
        assert http.post(f"/jobs/{job_id}/stop").json()["status"] == "stopping"
        assert waiting.result() == {"stop_jobs": [job_id]}
        report(http, launcher_id, job_id, "failed", error="Process exited with code -15")
        report(http, launcher_id, job_id, "stopped", signal="SIGTERM")
        assert status(http, job_id) == "stopped"

        waiting = pool.submit(poll, other, launcher_id)
        assert http.delete(f"/launchers/{launcher_id}").status_code == 200
        assert waiting.result() == {"deregistered": True}
    assert http.post("/launcher/heartbeat", json={"launcher_id": launcher_id}).status_code == 401


def _empty_polls(server: Server) -> int:
    return server.log.read_text().count("GET /launcher/jobs 204")


def test_a_poll_that_hung_up_takes_nothing_and_the_next_live_one_gets_the_job(
    http: httpx.Client, server: tuple[Server, str]
) -> None:
    gone, live = register(http), register(http)
    empty = _empty_polls(server[0])
    port = httpx.URL(server[1]).port
    with socket.create_connection((LOOPBACK, port)) as connection:
        connection.sendall(f"GET /launcher/jobs?launcher_id={gone} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())
    job_id = create(http)

    assert poll(http, live)["job"]["job_id"] == job_id
    await_value(lambda: _empty_polls(server[0]) > empty, "the end of the poll that hung up")
    assert http.get(f"/jobs/{job_id}").json()["launcher_id"] == live


def test_a_launcher_that_shuts_down_deregisters_itself(http: httpx.Client) -> None:
    launcher_id = register(http)

    answer = http.delete(f"/launchers/{launcher_id}", params={"self": "true"})

    assert (answer.status_code, answer.json()["initiated_by"]) == (200, "self")
    answer = http.get("/launcher/jobs", params={"launcher_id": launcher_id})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Launcher not registered"})
