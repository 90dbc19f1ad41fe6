"""Launchers written from the agent-jobs contract alone run jobs, receive stop commands, and outlive restarts."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import psutil
import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.services import start_functions
from functions.domain.access import Role, digest
from tests.e2e.agent_launchers import AgentLauncher, Client, agent_launcher, client_of
from tests.harness.front import front_of
from tests.harness.waiting import await_value

ADMIN_KEY: Final = f"ly_{uuid4()}"
KEYS: Final = {Role.ADMIN: ADMIN_KEY, Role.CLIENT: f"ly_{uuid4()}", Role.LAUNCHER: f"ly_{uuid4()}"}
POLL_SECONDS: Final = 2
STALE_SECONDS: Final = 12
HEARTBEAT_SECONDS: Final = 1
"""Often, because a launcher on a busy host may be late, and one that stops a job does not poll meanwhile."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a control plane whose polls and stale launchers last seconds."""
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    keys = [{"digest": digest(key), "role": role, "account": f"the {role}'s"} for role, key in KEYS.items()]
    environment = {
        "LAUNCHYARD_BACKEND": "memory",
        "LAUNCHYARD_URL": address,
        "LAUNCHYARD_CALLBACK_SECRET": str(uuid4()),
        "LAUNCHYARD_BUCKET": "s3://outputs",
        "LAUNCHYARD_S3_ENDPOINT": f"http://{LOOPBACK}:1",
        "LAUNCHYARD_S3_ACCESS_KEY_ID": "local",
        "LAUNCHYARD_S3_SECRET_ACCESS_KEY": str(uuid4()),
        "LAUNCHYARD_KEYS": json.dumps(keys),
        "LAUNCHER_POLL_TIMEOUT": str(POLL_SECONDS),
        "LAUNCHYARD_STALE_SECONDS": str(STALE_SECONDS),
    }
    server = start_functions(port, tmp_path_factory.mktemp("functions"), environment)
    yield address
    stop(server)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with client_of(f"{url}/k/{KEYS[Role.CLIENT]}", ADMIN_KEY) as client:
        yield client


@pytest.fixture
def run(url: str, tmp_path: Path) -> Iterator[Callable[[], AgentLauncher]]:
    """Run a launcher of the contract, whose key is in its base URL, until the test is over."""
    with ExitStack() as running:

        def run() -> AgentLauncher:
            log = tmp_path / f"{uuid4()}.jsonl"
            keyed = f"{url}/k/{KEYS[Role.LAUNCHER]}"
            return running.enter_context(agent_launcher(keyed, log, HEARTBEAT_INTERVAL=str(HEARTBEAT_SECONDS)))

        yield run


def test_a_launcher_runs_a_job_from_start_to_end_and_its_session_has_the_result(
    client: Client, run: Callable[[], AgentLauncher]
) -> None:
    launcher = run()
    name = f"survey-{uuid4().hex[:8]}"
    job_id = client.create(name, "summarise the notes")

    job = client.await_status(job_id, "completed", "failed")

    assert (job["status"], job["launcher_id"], job["error"]) == ("completed", launcher.id, None)
    session = client.ask("GET", f"/sessions/by-name/{name}")["session"]
    assert (session["status"], session["session_name"]) == ("finished", name)
    result = client.ask("GET", f"/sessions/{session['session_id']}/result")
    assert result == {"result": "Did: summarise the notes"}
    events = client.ask("GET", f"/sessions/{session['session_id']}/events")["events"]
    assert [event["event_type"] for event in events] == ["session_start", "message", "message", "session_stop"]
    assert launcher.shut_down() == 0
    assert launcher.id not in {one["launcher_id"] for one in client.ask("GET", "/launchers")["launchers"]}


def test_a_session_is_resumed_and_a_job_that_fails_says_why(client: Client, run: Callable[[], AgentLauncher]) -> None:
    run()
    name = f"survey-{uuid4().hex[:8]}"
    client.await_status(client.create(name, "first"), "completed")

    resumed = client.await_status(client.create(name, "second", "resume_session"), "completed", "failed")
    failed = client.await_status(client.create(name, "exit=3", "resume_session"), "completed", "failed")

    assert resumed["status"] == "completed", resumed
    assert (failed["status"], failed["error"]) == ("failed", "Process exited with code 3")
    session_id = client.ask("GET", f"/sessions/by-name/{name}")["session"]["session_id"]
    assert client.ask("GET", f"/sessions/{session_id}/result") == {"result": "Did: second"}


def test_a_parent_learns_of_its_child_by_a_job_that_resumes_it(
    client: Client, run: Callable[[], AgentLauncher]
) -> None:
    launcher = run()
    parent, child = (f"{name}-{uuid4().hex[:8]}" for name in ("lead", "child"))
    client.await_status(client.create(parent, "begin"), "completed")

    client.await_status(client.create(child, "count the notes", parent_session_name=parent), "completed")

    resumed = launcher.await_step("started", mode="resume")["job_id"]
    assert client.await_status(resumed, "completed", "failed")["status"] == "completed"
    assert client.job(resumed)["session_name"] == parent
    session_id = client.ask("GET", f"/sessions/by-name/{parent}")["session"]["session_id"]
    answered = client.ask("GET", f"/sessions/{session_id}/result")["result"]
    assert child in answered
    assert "Did: count the notes" in answered


def test_a_launcher_killed_while_a_job_runs_fails_it_and_a_new_job_resumes_the_session(
    client: Client, run: Callable[[], AgentLauncher], tmp_path: Path
) -> None:
    killed, name = run(), f"survey-{uuid4().hex[:8]}"
    job_id = client.create(name, f"wait={tmp_path / 'never'}")
    client.await_status(job_id, "running")
    executor = psutil.Process(killed.await_step("started", job_id=job_id)["pid"])
    killed.kill()
    executor.kill()

    job = client.await_status(job_id, "failed")

    assert killed.id in job["error"]
    other = run()
    resumed = client.create(name, "go on", "resume_session")
    assert client.await_status(resumed, "completed", "failed")["launcher_id"] == other.id
    assert not other.steps("started", job_id=job_id), "the job was run again"


def test_a_pending_job_is_stopped_before_any_launcher_gets_it(client: Client, run: Callable[[], AgentLauncher]) -> None:
    job_id = client.create("survey-1", "no")

    stopped = client.stop(job_id)

    assert (stopped["status"], stopped["message"]) == ("stopped", "Job cancelled before execution")
    launcher = run()
    client.await_status(client.create(f"survey-{uuid4().hex[:8]}", "yes"), "completed")
    assert not launcher.steps("started", job_id=job_id)


@pytest.mark.parametrize(("words", "sent"), [("", "SIGTERM"), ("stubborn ", "SIGKILL")])
def test_a_running_job_is_stopped_by_its_launcher(
    client: Client, run: Callable[[], AgentLauncher], tmp_path: Path, words: str, sent: str
) -> None:
    launcher = run()
    name = f"survey-{uuid4().hex[:8]}"
    job_id = client.create(name, f"{words}wait={tmp_path / 'never'}")
    client.await_status(job_id, "running")
    await_value(lambda: _answers(client, f"/sessions/by-name/{name}"), "the session")  # it heeds the signal now

    assert client.stop(job_id)["status"] == "stopping"

    job = client.await_status(job_id, "stopped")
    assert job["completed_at"] is not None
    assert launcher.steps("reported", job_id=job_id, kind="stopped")[0]["signal"] == sent
    session = client.ask("GET", f"/sessions/by-name/{name}")["session"]
    assert session["status"] == "finished"


def test_a_launcher_that_an_operator_deregisters_shuts_down(url: str, run: Callable[[], AgentLauncher]) -> None:
    launcher = run()
    with client_of(f"{url}/k/{ADMIN_KEY}") as operator:
        answer = operator.ask("DELETE", f"/launchers/{launcher.id}")

    assert answer["initiated_by"] == "external"
    assert launcher.await_end() == 0
    assert launcher.steps("deregistered")
    assert not launcher.steps("given_up")


def test_a_launcher_whose_control_plane_is_gone_gives_up_after_three_polls(url: str, tmp_path: Path) -> None:
    """So what outlives a restart here was not merely patient."""
    with ExitStack() as running:
        with front_of(url) as front:
            keyed = f"{front.address}/k/{KEYS[Role.LAUNCHER]}"
            launcher = running.enter_context(agent_launcher(keyed, tmp_path / "log.jsonl"))
            await_value(lambda: launcher.steps("registered") and front.requests, "a poll that waits")

        assert launcher.await_end() == 0
        assert len(launcher.steps("poll", seen="error")) == 3
        assert launcher.steps("given_up")


def _answers(client: Client, path: str) -> bool:
    return client.http.get(f"{client.url}{path}").status_code == httpx.codes.OK
