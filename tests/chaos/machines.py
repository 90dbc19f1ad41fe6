"""The processes and directories of a chaos run's machines."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.observations import Process
from tests.chaos.schedule import RUN
from tests.harness.machines import MachineProcess, scan


def processes(home: Path, run: str) -> Iterator[tuple[psutil.Process, Process]]:
    """Yield the processes of this run's machines, and those that their tasks started: these have the run's name in
    their environment."""
    for one in _scan(home, run):
        yield one.process, Process(one.process.pid, _vm(one), one.path is not None, one.argv)


@dataclass(frozen=True, slots=True)
class RunningMachine:
    """A machine that runs, the launcher in whose state directory it does, and the order that it runs."""

    launcher: str
    order_id: str
    process: psutil.Process
    vm: str


def running(home: Path, run: str) -> list[RunningMachine]:
    """Return the machines that run, the oldest first."""
    found: list[tuple[float, RunningMachine]] = []
    for one in _scan(home, run):
        match one.path and one.path.split("/"):
            case ["launchers", launcher, "vms", directory, *_]:
                order_id, _, _ = directory.rpartition("-")
                try:
                    begun = one.process.create_time()
                except psutil.NoSuchProcess:
                    continue
                found.append((begun, RunningMachine(launcher, order_id, one.process, f"vm-{one.uuid}")))
    return [machine for _, machine in sorted(found, key=lambda pair: (pair[0], pair[1].vm))]


def processes_of(vms: Collection[str], home: Path, run: str) -> list[psutil.Process]:
    """Return every process of these machines."""
    return [process for process, seen in processes(home, run) if seen.vm in vms]


def directories(home: Path) -> Iterator[str]:
    """Yield the names of the machines' directories, whole or not, and of those that a launcher quarantined."""
    for path in sorted(home.glob("launchers/*/vms/*")):
        yield path.name
    for path in sorted(home.glob("launchers/*/quarantine/*")):
        yield f"quarantine/{path.name}"


def _scan(home: Path, run: str) -> Iterator[MachineProcess]:
    return scan(home, RUN, run)


def _vm(process: MachineProcess) -> str | None:
    return process.uuid and f"vm-{process.uuid}"
