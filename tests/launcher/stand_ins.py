"""Stand-ins for what a launcher's test is not about: a clock that never waits, and plain processes as machines."""

import os
import sys
import threading
from contextlib import suppress
from typing import Final
from uuid import uuid4

import psutil

from launcher.host.clock import Clock
from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachinePlan
from launcher.machines.records import VmLease, VmManifest
from launcher.machines.resources import Resources, Size, Sizes
from launcher.orders.lanes import Lane
from launcher.providers.process.recovery import LocalMachines
from launcher.providers.process.start import start_process
from launcher.providers.process.supervise import ProcessMachine
from shared.domain.spec import AnySpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import Hold
from tests.launcher.fake_control_plane import DEADLINE

IDENTITY: Final = "0c1f8c0e-0000-4000-8000-000000000001"
NAMESAKES: Final = "0c1f8c0e-0000-4000-8000-000000000002"
"""The identity of another launcher of the same name."""
A_LEASE: Final = VmLease(ends=0, seconds=60)
STAYS: Final = (sys.executable, "-c", "import time; time.sleep(600)")
ENDS: Final = (sys.executable, "-c", "raise SystemExit(3)")

SMALL: Final = Sizes(work=Size(memory_mib=64, vcpus=1))


def a_manifest(order_id: str = "one", argv: tuple[str, ...] = STAYS, epoch: int = 1) -> VmManifest:
    """Return the manifest of a process that names its machine by its last argument."""
    uuid = str(uuid4())
    return VmManifest(
        order_id=order_id,
        epoch=epoch,
        vm=f"vm-{uuid}",
        uuid=uuid,
        provider="processes",
        mode=None,
        image_digest=None,
        argv=(*argv, uuid),
        resources=Resources(machines=1),
    )


TASKS: Final = Lane("any/task", "processes", Resources(machines=1))


class Processes(LocalMachines):
    """A provider whose machines are processes of `argv`, real ones."""

    name = "processes"
    loopback_gateway: str | None = None
    proxy: str | None = None
    starting_limit: int | None = None

    def __init__(self, argv: tuple[str, ...] = STAYS) -> None:
        self.argv = argv
        self._changed = threading.Condition()
        self._machines: dict[str, ProcessMachine] = {}

    def resources(self, spec: AnySpec) -> Resources:
        return Resources(machines=1)

    def plan(self, hold: Hold, uuid: str, config: WorkerConfig) -> MachinePlan:
        return MachinePlan((*self.argv, uuid))

    def start(self, directory: VmDirectory) -> ProcessMachine:
        machine = start_process(directory, directory.serial_log)
        with self._changed:
            self._machines[directory.manifest.order_id] = machine
            self._changed.notify_all()
        return machine

    @property
    def started(self) -> int:
        return len(self._machines)

    def process(self, order_id: str) -> psutil.Process:
        """Return the process of an order's machine, once it was started."""
        with self._changed:
            assert self._changed.wait_for(lambda: order_id in self._machines, DEADLINE)
            return psutil.Process(self._machines[order_id].pid)


class ManualClock:
    """A clock whose time passes only in pauses. After `most` pauses, it sets the interrupt and `over`, so that a loop
    ends.
    """

    def __init__(self, most: int, over: threading.Event | None = None) -> None:
        self._over = over
        self.pauses: list[float] = []
        self._most = most
        self._passed = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self._passed, lambda: 0.0, self._pause)

    def _pause(self, seconds: float, interrupt: threading.Event) -> None:
        self.pauses.append(seconds)
        self._passed += seconds
        if len(self.pauses) >= self._most:
            interrupt.set()
            if self._over is not None:
                self._over.set()


def fill(pipe: int) -> int:
    """Fill a pipe as a writer does whose reader is behind; return how many bytes that took."""
    os.set_blocking(pipe, False)
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += os.write(pipe, b"x" * 4096)
    os.set_blocking(pipe, True)
    return filled


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
