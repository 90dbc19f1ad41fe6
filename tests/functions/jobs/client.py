"""The agent-jobs contract in one line each: a job created, a launcher registered, what that polls and reports."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from werkzeug.test import TestResponse

from functions.apis.jobs.settings import JobsSettings
from functions.domain.job_launchers import JobLauncher
from tests.functions.world import CLIENT, LAUNCHER, World

OK: Final = {"ok": True}
START: Final = {"type": "start_session", "session_name": "survey-1", "prompt": "Summarise the notes"}
METADATA: Final = {"hostname": "bench-2", "project_dir": "/srv/work", "executor_type": "test-executor"}
STALE_AFTER: Final = timedelta(seconds=120)


def configure(world: World, **variables: Any) -> None:
    """Give the API these settings."""
    world.settings = {**world.settings, JobsSettings: JobsSettings.model_validate(variables)}


def create(world: World, key: str = CLIENT, **changes: Any) -> str:
    """Create a job, and return its id."""
    answer = world.post("/jobs", START | changes, key)
    assert (answer.status_code, answer.get_json()["status"]) == (200, "pending"), answer.text
    job_id: str = answer.get_json()["job_id"]
    return job_id


def get(world: World, job_id: str, key: str = CLIENT) -> dict[str, Any]:
    answer = world.get(f"/jobs/{job_id}", key)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.get_json()
    return job


def status(world: World, job_id: str) -> str:
    return str(get(world, job_id)["status"])


def stop(world: World, job_id: str, key: str = CLIENT) -> TestResponse:
    return world.post(f"/jobs/{job_id}/stop", key=key)


def listed(world: World, key: str = LAUNCHER) -> dict[str, dict[str, Any]]:
    """Return the launchers that this key sees, by their ids."""
    answer = world.get("/launchers", key)
    assert answer.status_code == 200, answer.text
    return {launcher["launcher_id"]: launcher for launcher in answer.get_json()["launchers"]}


@dataclass(frozen=True, slots=True)
class Launcher:
    """A launcher of the contract."""

    world: World
    id: str
    key: str = LAUNCHER

    def poll(self) -> TestResponse:
        return self.world.get(f"/launcher/jobs?launcher_id={self.id}", self.key)

    def command_or_job(self) -> dict[str, Any]:
        """Poll, and return the body; {} if there was none."""
        answer = self.poll()
        assert answer.status_code in (200, 204), answer.text
        body: dict[str, Any] = answer.get_json() if answer.status_code == 200 else {}
        return body

    def take(self) -> str:
        """Poll for a job, and return its id."""
        job_id: str = self.command_or_job()["job"]["job_id"]
        return job_id

    def run(self) -> str:
        """Poll for a job, report that it has started, and return its id."""
        job_id = self.take()
        assert self.accepted(job_id, "started")
        return job_id

    def report(self, job_id: str, kind: str, **fields: Any) -> TestResponse:
        usual = {"completed": {"status": "success"}, "failed": {"error": "Process exited with code 1"}}.get(kind, {})
        return self.world.post(f"/launcher/jobs/{job_id}/{kind}", {"launcher_id": self.id, **usual, **fields}, self.key)

    def accepted(self, job_id: str, kind: str, **fields: Any) -> bool:
        answer = self.report(job_id, kind, **fields)
        return (answer.status_code, answer.get_json()) == (200, OK)

    def heartbeat(self) -> TestResponse:
        return self.world.post("/launcher/heartbeat", {"launcher_id": self.id}, self.key)

    def deregister(self, itself: bool = True, key: str | None = None) -> TestResponse:
        return self.world.delete(f"/launchers/{self.id}{'?self=true' if itself else ''}", key or self.key)

    def record(self) -> JobLauncher | None:
        return self.world.ports.job_launchers.get(self.id)


def register(world: World, key: str = LAUNCHER, **metadata: Any) -> Launcher:
    answer = world.post("/launcher/register", metadata, key)
    assert answer.status_code == 200, answer.text
    return Launcher(world, answer.get_json()["launcher_id"], key)


def fall_silent(world: World, total: timedelta = STALE_AFTER + timedelta(seconds=1)) -> int:
    """Let this time pass with a sweep every 10 s, and return how many orders the sweeps ended."""
    ended, until = 0, world.clock.now + total
    while world.clock.now < until:
        world.clock.now = min(world.clock.now + timedelta(seconds=10), until)
        ended += world.sweep()["ended"]
    return ended
