"""Launchers of the agent-jobs contract as processes, and what they log."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from tests.harness.waiting import await_value

FOLDER: Final = Path(__file__).with_name("agent_launcher")
LAUNCHER: Final = FOLDER / "launcher.pl"
EXECUTOR: Final = FOLDER / "executor.pl"
PERL: Final = "/usr/bin/perl"
CLIENT_SECONDS: Final = 60.0
ENDED: Final = frozenset({"completed", "failed", "stopped"})


@dataclass
class AgentLauncher:
    process: psutil.Popen
    log: Path

    @property
    def id(self) -> str:
        """Wait until the launcher has registered, and return its id."""
        launcher_id: str = self.await_step("registered")["launcher_id"]
        return launcher_id

    def steps(self, step: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the steps of this name that have these fields."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        logged = [json.loads(line) for line in lines if line.endswith("}")]
        return [one for one in logged if one["step"] == step and fields.items() <= one.items()]

    def await_step(self, step: str, **fields: Any) -> dict[str, Any]:
        return await_value(lambda: self.steps(step, **fields), f"{step} {fields} in {self.log}")[0]

    def kill(self) -> None:
        """Kill the launcher with its threads, which are processes here, but not the jobs that it runs."""
        own = [one for one in self.process.children() if str(LAUNCHER) in one.cmdline()]
        for process in (self.process, *own):
            process.kill()
        self.process.wait(30)

    def shut_down(self) -> int:
        """Ask the launcher to shut down, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.await_end()

    def await_end(self) -> int:
        return int(self.process.wait(120))


@contextmanager
def agent_launcher(url: str, log: Path, *flags: str, **variables: str) -> Iterator[AgentLauncher]:
    """Run a launcher that runs the executor for each job; kill it, and what it runs, at the end."""
    argv = [PERL, str(LAUNCHER), "--log", str(log), *flags, PERL, str(EXECUTOR)]
    environment = {"PATH": os.environ["PATH"], "AGENT_ORCHESTRATOR_API_URL": url, **variables}
    with log.with_suffix(".err").open("wb") as errors:
        process = psutil.Popen(argv, env=environment, stderr=errors, cwd=log.parent, start_new_session=True)
    try:
        yield AgentLauncher(process, log)
    finally:
        _kill_session(process.pid)
        process.wait(30)


@dataclass
class Client:
    """A client of the contract, and with an admin key an operator who sweeps."""

    url: str
    http: httpx.Client
    admin_key: str = field(default="", repr=False)

    def create(self, name: str, prompt: str, kind: str = "start_session", **fields: Any) -> str:
        body = {"type": kind, "session_name": name, "prompt": prompt, **fields}
        job_id: str = self.ask("POST", "/jobs", body)["job_id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        return self.ask("GET", f"/jobs/{job_id}")

    def stop(self, job_id: str) -> dict[str, Any]:
        return self.ask("POST", f"/jobs/{job_id}/stop")

    def await_status(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until the job has one of these statuses, and return it. Each look sweeps, if this is an operator."""

        def read() -> dict[str, Any] | None:
            if self.admin_key:
                self.sweep()
            job = self.job(job_id)
            return job if job["status"] in statuses else None

        return await_value(read, f"the status {' or '.join(statuses)} of {job_id}")

    def sweep(self) -> None:
        headers = {"Authorization": f"Bearer {self.admin_key}"}
        self.http.post(f"{self.url.partition('/k/')[0]}/v1/sweeps", json={}, headers=headers).raise_for_status()

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self.http.request(method, f"{self.url}{path}", json=body)
        assert answer.status_code == httpx.codes.OK, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def client_of(url: str, admin_key: str = "") -> Iterator[Client]:
    with httpx.Client(timeout=CLIENT_SECONDS) as http:
        yield Client(url, http, admin_key)


def _kill_session(leader: int) -> None:
    """Kill every process of the session that this one leads, or has led."""
    with ExitStack() as each:
        for process in psutil.process_iter():
            each.callback(_kill_member, process, leader)


def _kill_member(process: psutil.Process, leader: int) -> None:
    try:
        if os.getsid(process.pid) == leader:
            process.kill()
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return
