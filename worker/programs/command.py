"""Runs a task's command without a shell. Its output is the command's standard output and error, interleaved.

The command's environment is what the control plane gave for it, and of the worker's own only what is `KEPT`.
The command stays in the worker's process group, so that a launcher that kills the group ends the command as well.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from shared.domain.order import Reason
from shared.domain.spec import TaskSpec
from worker.programs import Job, ProgramFailed, Result, process_tree

OUTPUT: Final = "output.log"
KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LAUNCHYARD_VM")
"""The variables of the worker that a program inherits. By the last one a launcher finds a machine's processes."""
TAIL_BYTES: Final = 2000
"""How much of a failed program's output its order's message repeats."""


def run(job: Job[TaskSpec]) -> Result:
    """Write `output.log`. Raises ProgramFailed if the command cannot be started, or does not exit with 0."""
    if not job.spec.command:
        message = "The task names an image, and this is our own worker: have the task name a command instead."
        raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False)
    file = job.folder / OUTPUT
    code = _run(job.spec.command, environment_of(job), file)
    if code != 0:
        message = f"The command ended with exit code {code}. Its last output:\n{tail(file)}"
        raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False)
    return Result(file, "text/plain")


def environment_of(job: Job[Any]) -> dict[str, str]:
    """Return the whole environment of an order's program."""
    return {**{name: os.environ[name] for name in KEPT if name in os.environ}, **job.environment}


def _run(command: tuple[str, ...], environment: Mapping[str, str], output: Path) -> int:
    with output.open("wb") as out:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
            )
            return child.wait()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            message = f"The command {command[0]} cannot be started: {why}"
            raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False) from error
        except SystemExit:  # the worker is stopped, perhaps while its command starts: end the command, too
            process_tree.kill_descendants()
            raise


def tail(file: Path) -> str:
    """Return the end of an output, TAIL_BYTES at most."""
    with file.open("rb") as output:
        size = output.seek(0, 2)
        output.seek(max(0, size - TAIL_BYTES))
        return output.read().decode(errors="replace")
