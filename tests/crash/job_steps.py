"""The steps of a scenario by launchers of the agent-jobs contract, which poll and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import httpx

from shared.domain.order import State
from shared.domain.spec import SessionSpec
from tests.crash.deployment import Deployment, Ending
from tests.harness.clients import Client
from tests.harness.waiting import await_value

ACCOUNTS: Final = "/api/v1/accounts"
PARENT: Final = "lead"
JOB: Final = {"type": "start_session", "session_name": "survey-1", "prompt": "Summarise the notes"}


@dataclass(frozen=True, slots=True)
class JobLauncher:
    """A registered launcher. Each of its requests is repeated until it is answered."""

    api: Client
    id: str

    def poll(self) -> httpx.Response:
        return self.api.answer_to("GET", "/launcher/jobs", params={"launcher_id": self.id})

    def take(self) -> str:
        """Poll until a job comes, and return its id."""

        def once() -> str | None:
            answer = self.poll()
            assert answer.status_code in (HTTPStatus.OK, HTTPStatus.NO_CONTENT), answer.text
            return answer.json()["job"]["job_id"] if answer.status_code == HTTPStatus.OK else None

        return await_value(once, "a job for a launcher")

    def report(self, job_id: str, kind: str, **fields: Any) -> None:
        self.api.ask("POST", f"/launcher/jobs/{job_id}/{kind}", json={"launcher_id": self.id, **fields})


def a_job_that_is_completed(deployment: Deployment) -> None:
    launcher = _a_launcher(deployment)
    job_id = _a_job(deployment, State.SUCCEEDED)
    assert launcher.take() == job_id
    launcher.report(job_id, "started")
    launcher.report(job_id, "completed")


def a_job_of_a_lapsed_claim(deployment: Deployment) -> None:
    """Have a launcher report the start of a job whose claim has lapsed meanwhile."""
    launcher = _a_launcher(deployment)
    job_id = _a_job(deployment, State.SUCCEEDED)
    assert launcher.take() == job_id
    deployment.await_state(State.QUEUED)
    launcher.report(job_id, "started")
    launcher.report(job_id, "completed")


def a_child_s_job(deployment: Deployment) -> None:
    """Have a launcher complete the job of a child. One job that resumes its parent is to follow, and to complete."""
    launcher = _a_launcher(deployment)
    child = _a_job(deployment, State.SUCCEEDED, parent_session_name=PARENT)
    assert launcher.take() == child
    launcher.report(child, "completed")
    follower = launcher.take()
    deployment.expect(follower, Ending(State.SUCCEEDED))
    spec = deployment.client.read(follower).spec
    assert isinstance(spec, SessionSpec)
    assert (spec.session_name, spec.resume, child in spec.prompt) == (PARENT, True, True)
    launcher.report(follower, "completed")


def jobs_of_a_lost_launcher(deployment: Deployment) -> None:
    """Have a launcher start two jobs, and send nothing more."""
    _run_jobs(deployment, _a_launcher(deployment), State.FAILED)


def jobs_of_deregistered_launchers(deployment: Deployment) -> None:
    """Have an operator deregister a launcher, which learns it from its poll, and another deregister itself."""
    heard, itself = _a_launcher(deployment), _a_launcher(deployment)
    for launcher in (heard, itself):
        _run_jobs(deployment, launcher, State.FAILED, count=1)
    deployment.operator.ask("DELETE", f"/launchers/{heard.id}")
    answer = heard.poll()  # if the first answer was lost, the launcher is unknown to the second
    assert answer.status_code == HTTPStatus.UNAUTHORIZED or answer.json() == {"deregistered": True}, answer.text
    answer = itself.api.answer_to("DELETE", f"/launchers/{itself.id}", params={"self": "true"})
    assert answer.status_code in (HTTPStatus.OK, HTTPStatus.NOT_FOUND), answer.text
    listed: Sequence[dict[str, Any]] = deployment.operator.ask("GET", "/launchers")["launchers"]
    assert {heard.id, itself.id}.isdisjoint(launcher["launcher_id"] for launcher in listed)


def _run_jobs(deployment: Deployment, launcher: JobLauncher, ends: State, count: int = 2) -> None:
    for _ in range(count):
        job_id = _a_job(deployment, ends)
        assert launcher.take() == job_id
        launcher.report(job_id, "started")


def _a_job(deployment: Deployment, ends: State, **fields: Any) -> str:
    headers = {"Idempotency-Key": str(uuid4())}
    job_id: str = deployment.client.ask("POST", "/jobs", json=JOB | fields, headers=headers)["job_id"]
    deployment.expect(job_id, Ending(ends))
    return job_id


def _a_launcher(deployment: Deployment) -> JobLauncher:
    account = deployment.operator.ask("POST", ACCOUNTS, json={"name": f"agents {uuid4()}", "account_type": "launcher"})
    api = deployment.client_of(account["api_key"])
    return JobLauncher(api, api.ask("POST", "/launcher/register")["launcher_id"])
