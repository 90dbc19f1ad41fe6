"""Machines as an earlier daemon left them, and what a test does with them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil
import structlog.testing

from launcher.daemon.daemon import Daemon
from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.host.clock import SYSTEM
from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.records import VmLease
from launcher.orders.adoption import Adoption
from launcher.orders.assignments import Assignments
from launcher.providers.process.supervise import ProcessMachine
from tests.launcher.conftest import InProcessLauncher, room_for
from tests.launcher.fake_control_plane import DEADLINE, UPDATES
from tests.launcher.stand_ins import STAYS, a_manifest

PARENT: Final = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
"""A machine with a child in a session of its own."""


@dataclass(frozen=True)
class Left:
    """A machine that an earlier daemon started, whose child it is no more, as far as the next daemon knows."""

    directory: VmDirectory
    machine: ProcessMachine

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.machine.pid)

    @property
    def order_id(self) -> str:
        return self.directory.manifest.order_id

    def reaped(self) -> int:
        """Return how it ended, as only its parent learns."""
        return os.waitstatus_to_exitcode(os.waitpid(self.machine.pid, 0)[1])


def a_directory(state: Path, argv: tuple[str, ...] = STAYS, seconds: float = 60) -> VmDirectory:
    manifest = a_manifest(str(uuid4()), argv)
    return directory.create(state, manifest, b"{}", VmLease(ends=SYSTEM.monotonic() + seconds, seconds=seconds))


def adopt(launcher: InProcessLauncher) -> list[dict[str, object]]:
    """Do what a daemon does at its start, and return what it says."""
    with structlog.testing.capture_logs() as logs:
        Adoption(launcher.runner, launcher.assignments, launcher.admission).run()
    return [dict(line) for line in logs]


def a_daemon(launcher: InProcessLauncher, assignments: Assignments) -> Daemon:
    """A daemon that takes no orders, and leaves at once what it holds when it is told to go."""
    admission = room_for(launcher.state, 2)
    heartbeat = HeartbeatLoop(launcher.client, "alpha", assignments, 0.05, launcher.outage, SYSTEM)
    adoption = Adoption(launcher.runner, assignments, admission) if assignments is not launcher.assignments else None
    return Daemon(
        adopt=adoption.run if adoption else lambda: None,
        admission=admission,
        assignments=assignments,
        intake=lambda: None,
        heartbeat=heartbeat,
        drain_seconds=0,
    )


def assert_quarantined(launcher: InProcessLauncher, vm: VmDirectory, logs: list[dict[str, object]]) -> None:
    assert not vm.path.exists()
    assert (launcher.state / "quarantine" / vm.path.name).is_dir()
    assert not launcher.assignments.held()
    assert not launcher.server.bodies(UPDATES)
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert "to_do" in line


def first_line(log: Path) -> str:
    """Look until a machine has written a line, and return it."""
    deadline = time.monotonic() + DEADLINE
    while not (line := log.read_text()).endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return line


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
