"""Runs a task's command without a shell. Its output is the command's standard output and error, interleaved.

The command's environment is what the control plane gave for it, and of the worker's own only what is `KEPT`.
The command stays in the worker's process group, so that a launcher that kills the group ends the command as well.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.domain.order import Reason
from shared.domain.spec import TaskSpec
from worker.programs import Job, ProgramFailed, Result, process_tree

OUTPUT: Final = "output.log"
KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LAUNCHYARD_VM")
"""The variables of the worker that its command inherits. By the last one a launcher finds a machine's processes."""
TAIL_BYTES: Final = 2000
"""How much of a failed command's output its order's message repeats."""


def run(job: Job[TaskSpec]) -> Result:
    """Write `output.log`. Raises ProgramFailed if the command cannot be started, or does not exit with 0."""
    if not job.spec.command:
        message = "The task names an image, and this is our own worker: have the task name a command instead."
        raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False)
    file = job.folder / OUTPUT
    code = _run(job.spec.command, _environment(job), file)
    if code != 0:
        message = f"The command ended with exit code {code}. Its last output:\n{_tail(file)}"
        raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False)
    return Result(file, "text/plain")


def _environment(job: Job[TaskSpec]) -> dict[str, str]:
    return {**{name: os.environ[name] for name in KEPT if name in os.environ}, **job.environment}


def _run(command: tuple[str, ...], environment: Mapping[str, str], output: Path) -> int:
    with output.open("wb") as out:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
            )
            return child.wait()
        except (OSError, ValueError) as error:
            message = f"The command cannot be started: {error}"
            raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False) from error
        except SystemExit:  # the worker is stopped, perhaps while its command starts: end the command, too
            process_tree.kill_descendants()
            raise


def _tail(file: Path) -> str:
    with file.open("rb") as output:
        size = output.seek(0, 2)
        output.seek(max(0, size - TAIL_BYTES))
        return output.read().decode(errors="replace")
