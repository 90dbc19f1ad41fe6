"""Launchers that are written from the agent-jobs contract alone run jobs, hear of stops, and outlive restarts."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import psutil
import pytest

from emulators.processes import LOOPBACK, free_port, stop
from emulators.services import start_functions
from functions.domain.access import Role, digest
from tests.e2e.agent_launchers import AgentLauncher, Client, agent_launcher, client_of
from tests.harness.front import front_of
from tests.harness.processes import SupervisedServer
from tests.harness.projects import sharing
from tests.harness.waiting import await_value

ADMIN_KEY: Final = f"ly_{uuid4()}"
KEYS: Final = {Role.ADMIN: ADMIN_KEY, Role.CLIENT: f"ly_{uuid4()}", Role.LAUNCHER: f"ly_{uuid4()}"}
POLL_SECONDS: Final = 2
STALE_SECONDS: Final = 4 * POLL_SECONDS
LAUNCHERS: Final = 50


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
        yield lambda: running.enter_context(
            agent_launcher(
                f"{url}/k/{KEYS[Role.LAUNCHER]}", tmp_path / f"{uuid4()}.jsonl", "--hostname", f"h{uuid4().hex[:8]}"
            )
        )


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


def test_a_parent_hears_of_its_child_by_a_job_that_resumes_it(client: Client, run: Callable[[], AgentLauncher]) -> None:
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
    port, log = free_port(), tmp_path / "log.jsonl"
    with ExitStack() as running:
        with front_of(int(url.rpartition(":")[2]), port) as front:
            launcher = running.enter_context(agent_launcher(f"http://{LOOPBACK}:{port}/k/{KEYS[Role.LAUNCHER]}", log))
            await_value(lambda: launcher.steps("registered") and front.connections, "a poll that waits")

        assert launcher.await_end() == 0
        assert [one["status"] for one in launcher.steps("poll", seen="error")] == [599, 599, 599]
        assert launcher.steps("given_up")


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_loses_and_doubles_no_job_and_no_launcher_gives_up(
    firestore_host: str, pubsub_host: str, tmp_path: Path, number: signal.Signals
) -> None:
    """50 polls wait, and jobs are in every state."""
    with ExitStack() as running:
        projects = running.enter_context(sharing(firestore_host, pubsub_host, tmp_path))
        variables = running.enter_context(projects.create()).variables
        server_port, port = free_port(), free_port()
        server = SupervisedServer("the control plane", lambda: start_functions(server_port, tmp_path, variables))
        server.start()
        running.callback(server.kill)
        front = running.enter_context(front_of(server_port, port))
        keyed = f"http://{LOOPBACK}:{port}/k"
        launchers_url = f"{keyed}/{variables['LAUNCHYARD_LAUNCHER_KEY']}"
        client = running.enter_context(client_of(f"{keyed}/{variables['LAUNCHYARD_CLIENT_KEY']}"))
        by_hand = ByHand(running.enter_context(client_of(launchers_url)))
        states = jobs_in_every_state(client, by_hand)
        launchers = [
            running.enter_context(agent_launcher(launchers_url, tmp_path / f"launcher-{nth}.jsonl"))
            for nth in range(LAUNCHERS)
        ]
        await_value(lambda: all(one.steps("registered") for one in launchers), "50 registrations")
        await_value(lambda: front.connections >= LAUNCHERS, "50 polls that wait")

        server.send(number)
        await_value(lambda: not server.runs, "the end of the control plane")
        server.kill()
        server.start()

        assert {job_id: client.job(job_id)["status"] for job_id in states} == states
        created = [client.create(f"after-{nth}", "work") for nth in range(LAUNCHERS)]
        assert {client.await_status(job_id, "completed", "failed")["status"] for job_id in created} == {"completed"}
        by_hand.finish()
        ended = {job_id: client.await_status(job_id, "completed", "stopped", "failed")["status"] for job_id in states}
        assert Counter(ended.values()) == {"completed": 4, "stopped": 2, "failed": 1}
        started = Counter(step["job_id"] for one in launchers for step in one.steps("started"))
        assert started == Counter(created)
        assert [one.log.name for one in launchers if one.steps("given_up") or not one.process.is_running()] == []
        assert max(len(one.steps("poll", seen="error")) for one in launchers) <= (number == signal.SIGKILL)


class ByHand:
    """A launcher whose polls and reports are sent one by one. Only it offers the label `by-hand`."""

    LABELS: Final = ["by-hand"]

    def __init__(self, client: Client) -> None:
        self.client = client
        self.id = client.ask("POST", "/launcher/register", {"labels": self.LABELS})["launcher_id"]
        self.held: dict[str, str] = {}
        """What is to be reported of each job after the restart."""

    def take(self, job_id: str) -> None:
        """Poll until a job comes: a stop command comes first, again and again."""
        while "job" not in (heard := self.client.ask("GET", f"/launcher/jobs?launcher_id={self.id}")):
            assert heard.keys() == {"stop_jobs"}, heard
        assert heard["job"]["job_id"] == job_id

    def report(self, job_id: str, kind: str, **fields: Any) -> None:
        self.client.ask("POST", f"/launcher/jobs/{job_id}/{kind}", {"launcher_id": self.id, **fields})

    def finish(self) -> None:
        """Take what waits, and report the end of everything."""
        for job_id, kind in self.held.items():
            if kind == "pending":
                self.take(job_id)
            self.report(job_id, "stopped" if kind == "stopping" else "completed")


def jobs_in_every_state(client: Client, launcher: ByHand) -> dict[str, str]:
    """Create a job for each state, and return them with their states."""
    states = {}
    for state in ("completed", "failed", "stopped", "stopping", "claimed", "running", "pending"):
        job_id = client.create(f"before-{state}", "work", labels=launcher.LABELS)
        states[job_id] = state
        if state not in ("pending", "stopped"):
            launcher.take(job_id)
        if state not in ("pending", "stopped", "claimed"):
            launcher.report(job_id, "started")
        if state in ("completed", "failed"):
            launcher.report(job_id, state, **({"error": "no"} if state == "failed" else {}))
        elif state in ("stopped", "stopping"):
            client.stop(job_id)
        if state in ("stopping", "claimed", "running", "pending"):
            launcher.held[job_id] = state
    assert {job_id: client.job(job_id)["status"] for job_id in states} == states
    return states


def _answers(client: Client, path: str) -> bool:
    return client.http.get(f"{client.url}{path}").status_code == httpx.codes.OK
