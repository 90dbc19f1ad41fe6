"""An order in this launcher's hands: its lease, the wish to stop it, and its machine while there is one."""

import math
import os
import select
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Self

import structlog

from launcher.machines.directory import VmDirectory
from launcher.machines.port import Machine
from launcher.machines.records import VmLease
from shared.crash_points import Point, reach
from shared.wire.launchers import Hold

MARGIN: Final = 1 / 6
"""The part of its lease at whose beginning a machine is killed: at the end another launcher's may be about to start."""

log = structlog.get_logger()


class Wish(StrEnum):
    """Why a machine is to be stopped."""

    CANCELLED = "cancelled"
    FINISHED = "finished"
    LEASE_LOST = "lease_lost"
    GOING_DOWN = "going_down"
    LEFT = "left"
    """It is to run on: the next daemon adopts it. Only what has not been started is returned."""

    @classmethod
    def of(cls, why: str) -> Self:
        """Return what the control plane's word means; any that was added since is obeyed like a lease that was lost."""
        return cls(why) if why in (cls.CANCELLED, cls.FINISHED) else cls(cls.LEASE_LOST)


class LeftRunning(Exception):
    """The machine runs on without this daemon."""


class Held:
    """Shared between the order's own thread, the heartbeat's, and the daemon's; `close` it at the end.

    Its lease is counted in seconds since it was asked for, on a clock that nobody sets: so it never ends later here
    than it does for the control plane, whatever time of day either takes it to be.
    """

    def __init__(self, hold: Hold, lease: VmLease, monotonic: Callable[[], float]) -> None:
        self.hold = hold
        self.asked = threading.Event()
        """A wish was made."""
        self.hurried = threading.Event()
        """Whatever still takes time is to be given up."""
        self.runs = False
        """The control plane has said that it runs."""
        self.spent = False
        """Nothing is expected of it any more but its end."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lease = lease
        self._wish: Wish | None = None
        self._directory: VmDirectory | None = None
        self._machine: Machine | None = None
        self._woken: int | None = None
        self._recording = threading.Lock()

    @property
    def wish(self) -> Wish | None:
        return self._wish

    @property
    def lease(self) -> VmLease:
        return self._lease

    @property
    def vm(self) -> str | None:
        """The machine's name; None where there is none yet."""
        directory = self._directory
        return None if directory is None else directory.manifest.vm

    def open(self) -> int:
        """Return the descriptor that a wish makes readable. Raises OSError where this host has none left."""
        with self._lock:
            if self._woken is None:
                self._woken = os.eventfd(int(self._wish is not None), os.EFD_CLOEXEC)
            return self._woken

    def close(self) -> None:
        with self._lock:
            if self._woken is not None:
                os.close(self._woken)
            self._woken = None

    def keep_lease_in(self, directory: VmDirectory | None) -> None:
        """From now on record the lease in the machine's directory, for a daemon that comes after this one."""
        with self._recording:
            self._directory = directory
            self._record()

    def renew(self, asked_at: float, lease_seconds: float, endless: bool = False) -> None:
        with self._recording:
            self._lease = VmLease(ends=asked_at + lease_seconds, seconds=lease_seconds, endless=endless)
            self._record()

    def lease_left(self) -> float:
        """Return the seconds that the machine may still run under its lease; 0 or less: it must be gone."""
        lease = self._lease
        return math.inf if lease.endless else lease.ends - lease.seconds * MARGIN - self._monotonic()

    def leased(self) -> bool:
        """Return whether the lease stands, so that a report may still be taken."""
        lease = self._lease
        return lease.endless or self._monotonic() < lease.ends

    def ask(self, wish: Wish) -> None:
        """Wish the machine stopped. The first wish counts, but for a lost lease, which overrules all."""
        with self._lock:
            if self._wish is None or wish is Wish.LEASE_LOST:
                self._wish = wish
            self.asked.set()
            if self._woken is not None:
                os.eventfd_write(self._woken, 1)

    def leave(self) -> None:
        """Have the machine run on, and whatever else is under way given up."""
        self.ask(Wish.LEFT)
        self.hurried.set()

    def hurry(self) -> None:
        with self._lock:
            self.hurried.set()
            if self._machine is not None and self._wish is not Wish.LEFT:
                self._machine.kill()

    def patience(self) -> float:
        """Return the seconds that stopping may take: none when hurried, or when the lease is lost or ends."""
        if self.hurried.is_set() or self._wish is Wish.LEASE_LOST:
            return 0
        return self.lease_left()

    def attach(self, machine: Machine | None) -> None:
        with self._lock:
            self._machine = machine

    def watch(self, machine: Machine) -> bool:
        """Wait until the machine ends by itself (True), or is to be stopped (False); so it is when its lease ends."""
        events = select.poll()
        events.register(machine.fileno(), select.POLLIN)
        events.register(self.open(), select.POLLIN)
        while not (happened := dict(events.poll(self._look_again() * 1000))):
            if self.lease_left() <= 0:
                self.ask(Wish.LEASE_LOST)
        return machine.fileno() in happened

    def _look_again(self) -> float:
        """Return after how many seconds the lease must be looked at: one that had no end may have been given one."""
        return min(max(self.lease_left(), 0), self._lease.seconds * (1 - MARGIN))

    def _record(self) -> None:
        """A lease that cannot be recorded ends earlier for the next daemon: nothing worse."""
        directory = self._directory
        if directory is None:
            return
        try:
            directory.record_lease(self._lease)
            directory.cap_logs()
        except OSError as error:
            log.warning("a lease is not recorded", **self.hold.model_dump(), error=error.strerror)
        reach(Point.LAUNCHER_LEASE)
