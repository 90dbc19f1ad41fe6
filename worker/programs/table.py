"""The program for each kind of order."""

from collections.abc import Mapping
from typing import Any, Final

from shared.domain.spec import OrderKind
from worker.programs import Job, Program, Result

# Each program is imported when it runs: under emulation importing them all takes a fifth of a second, and the control
# plane waits for the worker's first report.


def _stay(job: Job[Any]) -> Result:
    from worker.programs.agent import stay

    return stay(job)


def _export(job: Job[Any]) -> Result:
    from worker.programs.mods_export import export

    return export(job)


def _command(job: Job[Any]) -> Result:
    from worker.programs.command import run as run_command

    return run_command(job)


def _session(job: Job[Any]) -> Result:
    from worker.programs.session import run as run_session

    return run_session(job)


PROGRAMS: Final[Mapping[OrderKind, Program]] = {
    OrderKind.CAPACITY: _stay,
    OrderKind.EXPORT: _export,
    OrderKind.TASK: _command,
    OrderKind.SESSION: _session,
}


def run(job: Job[Any]) -> Result:
    """Run the program of the order's kind. Raises ProgramFailed."""
    return PROGRAMS[job.spec.kind](job)
