"""Reports a task as started, runs a command, and reports how it ended, as the contract of ephemeral workers says."""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from shared.exit_codes import SIGNALLED
from shared.http_client import explain

TIMEOUT: Final = 30.0
"""Seconds without an answer before a report counts as undelivered."""
MAX_SHOWN: Final = 500
"""The part of an answer that is printed, in characters."""


class NotDelivered(Exception):
    """A report was not answered. The message repeats no address: it may hold a credential."""


@dataclass(frozen=True, slots=True)
class TaskWorker:
    """`http` has the callback address as its base. `print_line` prints what was answered."""

    task_id: str
    project_id: str
    http: httpx.Client
    print_line: Callable[[str], None]

    def run(self, command: Sequence[str]) -> None:
        """Run the command between the two reports; without one, just report. Raises NotDelivered."""
        self._report("started", {"project_id": self.project_id})
        failure = _failure(command, self.task_id) if command else None
        if failure is None:
            self._report("completed", {"message": "The command ended with exit code 0." if command else "done"})
        else:
            self._report("failed", failure)

    def _report(self, status: str, members: dict[str, str | int]) -> None:
        """Send a report. Whatever the answer is, the work goes on; only no answer ends it."""
        body = {"task_id": self.task_id, "status": status, **members}
        try:
            answer = self.http.post(f"/{status}", json=body)
        except httpx.RequestError as error:
            raise NotDelivered(f"{status} was not delivered: {explain(error, self.http.base_url)}") from None
        shown = "".join(filter(str.isprintable, answer.text[:MAX_SHOWN]))
        self.print_line(f"{status}: {answer.status_code} {shown}")


def _failure(command: Sequence[str], task_id: str) -> dict[str, str | int] | None:
    """Run the command; return what to report if it failed."""
    try:
        done = subprocess.run(command, env={**os.environ, "TASK_ID": task_id}, check=False)
    except OSError as error:
        return {"error": f"The command cannot be started: {error.strerror}"}
    if done.returncode == 0:
        return None
    code = done.returncode if done.returncode > 0 else SIGNALLED - done.returncode
    return {"error": "The command failed.", "exit_code": code}
