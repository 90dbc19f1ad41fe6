"""The processes and directories of a run's machines, as this host has them."""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.chaos.observations import Process
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


@dataclass(frozen=True, slots=True)
class Held:
    """A machine that runs, and the launcher in whose state directory it does."""

    launcher: str
    process: psutil.Process
    vm: str


def held(home: Path, run: str) -> list[Held]:
    """Return the machines that run, the one that has run longest first."""
    found = [
        (process.create_time(), Held(launcher, process, seen.vm))
        for process, seen in processes(home, run)
        if seen.vm is not None and (launcher := _launcher(process, home)) is not None
    ]
    return [one for _, one in sorted(found, key=lambda pair: (pair[0], pair[1].vm))]


def of(vms: Collection[str], home: Path, run: str) -> list[psutil.Process]:
    """Return all that runs of these machines."""
    return [process for process, seen in processes(home, run) if seen.vm in vms]


def directories(home: Path) -> Iterator[str]:
    """Yield the names of the machines' directories: half written and half removed ones, and those that a launcher put
    aside because it could not explain them, are none that an order may have."""
    for path in sorted(home.glob("launchers/*/vms/*")):
        yield path.name
    for path in sorted(home.glob("launchers/*/quarantine/*")):
        yield f"quarantine/{path.name}"


def _launcher(process: psutil.Process, home: Path) -> str | None:
    """Return the name of the launcher whose machine this process is; None where it is none, or has ended."""
    try:
        argv = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    states = f"{home.resolve()}/launchers/"
    found = re.search(re.escape(states) + "([a-z]+)/", "\0".join(argv))
    return found[1] if found and _is_machine(argv, home) else None


def _is_machine(argv: list[str], home: Path) -> bool:
    return _uuid(argv) is not None and f"{home.resolve()}/" in "\0".join(argv)


def _uuid(argv: list[str]) -> str | None:
    found = ARGUMENT.search("\0".join(argv))
    return found[1] if found else None


def _sessions_uuid(pid: int) -> str | None:
    return _uuid(psutil.Process(os.getsid(pid)).cmdline())
