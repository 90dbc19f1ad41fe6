"""The processes and directories of a run's machines, as this host has them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from tests.chaos.checker import Process
from tests.chaos.schedule import RUN

ARGUMENT: Final = re.compile(r"launchyard\.vm=([0-9a-f-]{36})")
VARIABLE: Final = "LAUNCHYARD_VM"


def processes(home: Path, run: str) -> Iterator[tuple[psutil.Process, Process]]:
    """Yield what runs of this run's machines, and of what their tasks started, whoever its parent is by now.

    They are known by the state directory in their arguments, or by the run's name in their environment.
    """
    for process in psutil.process_iter():
        try:
            argv, environment = process.cmdline(), process.environ()
            if process.status() == psutil.STATUS_ZOMBIE or not argv:
                continue
            if environment.get(RUN) != run and not _is_machine(argv, home):
                continue
            vm = environment.get(VARIABLE) or _uuid(argv) or _sessions_uuid(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            continue
        yield process, Process(process.pid, vm and f"vm-{vm}", _is_machine(argv, home), " ".join(argv)[:300])


def directories(home: Path) -> Iterator[str]:
    """Yield the names of the machines' directories: half written and half removed ones, and those that a launcher put
    aside because it could not explain them, are none that an order may have."""
    for path in sorted(home.glob("launchers/*/vms/*")):
        yield path.name
    for path in sorted(home.glob("launchers/*/quarantine/*")):
        yield f"quarantine/{path.name}"


def _is_machine(argv: list[str], home: Path) -> bool:
    return _uuid(argv) is not None and f"{home.resolve()}/" in "\0".join(argv)


def _uuid(argv: list[str]) -> str | None:
    found = ARGUMENT.search("\0".join(argv))
    return found[1] if found else None


def _sessions_uuid(pid: int) -> str | None:
    return _uuid(psutil.Process(os.getsid(pid)).cmdline())
