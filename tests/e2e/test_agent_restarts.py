"""The control plane is restarted while launchers of the agent-jobs contract poll, and jobs are in every state."""

import signal
from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Final

import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from emulators.services import start_functions
from tests.e2e.agent_launchers import Client, agent_launcher, client_of
from tests.harness.front import front_of
from tests.harness.processes import SupervisedServer
from tests.harness.projects import sharing
from tests.harness.waiting import await_value

LAUNCHERS: Final = 50


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
        port = free_port()
        server = SupervisedServer("the control plane", lambda: start_functions(port, tmp_path, variables))
        server.start()
        running.callback(server.kill)
        front = running.enter_context(front_of(f"http://{LOOPBACK}:{port}"))
        launchers_url = f"{front.address}/k/{variables['LAUNCHYARD_LAUNCHER_KEY']}"
        client = running.enter_context(client_of(f"{front.address}/k/{variables['LAUNCHYARD_CLIENT_KEY']}"))
        by_hand = ByHand(running.enter_context(client_of(launchers_url)))
        states = jobs_in_every_state(client, by_hand)
        launchers = [
            running.enter_context(agent_launcher(launchers_url, tmp_path / f"launcher-{nth}.jsonl"))
            for nth in range(LAUNCHERS)
        ]
        await_value(lambda: all(one.steps("registered") for one in launchers), "50 registrations")
        await_value(lambda: front.requests >= LAUNCHERS, "50 polls that wait")

        with front.holding() if number == signal.SIGTERM else nullcontext():
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
        """Take what waits, and report the end of everything. A poll receives a stop command before it gets a job."""
        for job_id, kind in sorted(self.held.items(), key=lambda held: held[1] != "stopping"):
            if kind == "pending":
                self.take(job_id)
            self.report(job_id, "stopped" if kind == "stopping" else "completed")


def jobs_in_every_state(client: Client, launcher: ByHand) -> dict[str, str]:
    """Create a job for each state, and return them with their states."""
    states = {}
    for state in ("completed", "failed", "stopped", "claimed", "running", "stopping", "pending"):
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
