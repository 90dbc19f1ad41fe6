"""Which program runs which kind of order."""

from collections.abc import Mapping
from typing import Any, Final

from shared.domain.order import Reason
from shared.domain.spec import OrderKind
from worker.programs import Job, Program, ProgramFailed, Result, agent, command, mods_export

PROGRAMS: Final[Mapping[OrderKind, Program]] = {
    OrderKind.CAPACITY: agent.stay,
    OrderKind.EXPORT: mods_export.export,
    OrderKind.TASK: command.run,
}


def run(job: Job[Any]) -> Result:
    """Run the program of the order's kind. Raises ProgramFailed."""
    program = PROGRAMS.get(job.spec.kind)
    if program is None:
        message = f"This worker has no program for {job.spec.kind} orders."
        raise ProgramFailed(Reason.PROGRAM_FAILED, message, retryable=False)
    return program(job)
