"""An assignment: one held order, with its lease, its machine, and whether to stop it."""

import math
import os
import select
import threading
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Final, Self

import structlog

from launcher.machines.directory import VmDirectory
from launcher.machines.port import Concerns, Machine
from launcher.machines.records import VmLease
from shared.crash_points import Point, reach
from shared.log_events import LogEvent
from shared.wire.launchers import Hold

SAFETY_MARGIN: Final = 1 / 6
"""As a fraction of the lease: the machine is killed this long before expiry, because another launcher may start one
then."""

log = structlog.get_logger()


class StopReason(StrEnum):
    """The reason to stop a machine."""

    CANCELLED = "cancelled"
    FINISHED = "finished"
    LEASE_LOST = "lease_lost"
    GOING_DOWN = "going_down"

    @classmethod
    def of(cls, why: str) -> Self:
        """Return the reason for the control plane's text. A text that this version does not know means a lost lease."""
        return cls(why) if why in (cls.CANCELLED, cls.FINISHED) else cls(cls.LEASE_LOST)


class LeftRunning(Exception):
    """The machine runs on without this daemon."""


class Assignment:
    """The order's own thread, the heartbeat's and the daemon's share it. Call `close` at the end.

    The lease is counted in seconds from the request that it answered, on a monotonic clock. So it never ends later here
    than at the control plane, whatever time of day either side has.
    """

    def __init__(self, hold: Hold, lease: VmLease, monotonic: Callable[[], float]) -> None:
        self.hold = hold
        self.interrupted = threading.Event()
        """Set if the machine must be stopped or left running."""
        self.hurried = threading.Event()
        """Set if everything that still takes time must be given up."""
        self.running = False
        """True once the control plane has said that the order runs."""
        self.ending = False
        """True if the order has ended, and only its machine's end is missing."""
        self.concerned: Concerns | None = None
        """If its machine did not start: whose orders would fail in the same way."""
        self.note_started: Callable[[], None] = lambda: None
        """Notes that its machine has started."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lease = lease
        self._stop_reason: StopReason | None = None
        self._left_running = False
        self._directory: VmDirectory | None = None
        self._machine: Machine | None = None
        self._wake_up: int | None = None
        self._recording = threading.Lock()

    @property
    def stop_reason(self) -> StopReason | None:
        return self._stop_reason

    @property
    def left_running(self) -> bool:
        """Return whether the machine must run on for the next daemon. An order without a machine is then returned."""
        return self._left_running

    @property
    def lease(self) -> VmLease:
        return self._lease

    @property
    def vm(self) -> str | None:
        """Return the machine's name; None if there is no machine yet."""
        directory = self._directory
        return None if directory is None else directory.manifest.vm

    def open(self) -> int:
        """Return a descriptor that becomes readable on an interruption. Raises OSError if this host has none left."""
        with self._lock:
            if self._wake_up is None:
                self._wake_up = os.eventfd(int(self.interrupted.is_set()), os.EFD_CLOEXEC)
            return self._wake_up

    def close(self) -> None:
        with self._lock:
            if self._wake_up is not None:
                os.close(self._wake_up)
            self._wake_up = None

    def record_lease_in(self, directory: VmDirectory | None) -> None:
        """Record the lease in the machine's directory from now on, for the next daemon."""
        with self._recording:
            self._directory = directory
            self._record()

    def renew(self, asked_at: float, lease_seconds: float, never_expires: bool = False) -> None:
        """Set the lease from the answer to a request that was sent at the monotonic time `asked_at`."""
        with self._recording:
            self._lease = VmLease(ends=asked_at + lease_seconds, seconds=lease_seconds, never_expires=never_expires)
            self._record()

    def lease_left(self) -> float:
        """Return the seconds that the machine may still run under its lease. At 0 or less it must be gone."""
        lease = self._lease
        return math.inf if lease.never_expires else lease.ends - lease.seconds * SAFETY_MARGIN - self._monotonic()

    def leased(self) -> bool:
        """Return whether the lease holds, so that a report may still be accepted."""
        lease = self._lease
        return lease.never_expires or self._monotonic() < lease.ends

    def stop(self, reason: StopReason) -> None:
        """Request that the machine is stopped. The first reason counts, but a lost lease overrides any other."""
        with self._lock:
            if reason is StopReason.LEASE_LOST:
                self._left_running = False
                self._stop_reason = reason
            elif self._stop_reason is None and not self._left_running:
                self._stop_reason = reason
            self._interrupt()

    def leave(self) -> None:
        """Leave the machine running unless it is already being stopped, and give up whatever else takes time."""
        with self._lock:
            self._left_running = self._stop_reason is None
            self._interrupt()
        self.hurried.set()

    def hurry(self) -> None:
        """Kill a machine that is being stopped, and give up whatever else takes time."""
        with self._lock:
            self.hurried.set()
            if self._machine is not None and not self._left_running:
                self._machine.kill()

    def patience(self) -> float:
        """Return the seconds that a stop may take: none if hurried, or if the lease is lost or ends."""
        if self.hurried.is_set() or self._stop_reason is StopReason.LEASE_LOST:
            return 0
        return self.lease_left()

    def attach(self, machine: Machine | None) -> None:
        with self._lock:
            self._machine = machine

    def watch(self, machine: Machine) -> bool:
        """Wait until the machine has ended by itself (True), or must be stopped or left (False).

        A machine whose lease ends must be stopped.
        """
        return machine.fileno() in self._await(machine.fileno())

    def await_up(self, machine: Machine, up: int) -> bool:
        """Wait until the descriptor `up` says that the machine runs (True), or it has ended or must be stopped."""
        return up in self._await(up, machine.fileno())

    def _await(self, *descriptors: int) -> Collection[int]:
        """Wait until one of these is readable, or the machine must be stopped or left; return those that are."""
        events = select.poll()
        for descriptor in (*descriptors, self.open()):
            events.register(descriptor, select.POLLIN)
        while not (happened := dict(events.poll(self._next_check() * 1000))):
            if self.lease_left() <= 0:
                self.stop(StopReason.LEASE_LOST)
        return happened.keys()

    def _interrupt(self) -> None:
        self.interrupted.set()
        if self._wake_up is not None:
            os.eventfd_write(self._wake_up, 1)

    def _next_check(self) -> float:
        """Return the seconds until the lease is checked again: a lease that never expires may get an end."""
        return min(max(self.lease_left(), 0), self._lease.seconds * (1 - SAFETY_MARGIN))

    def _record(self) -> None:
        """Write the lease. If that fails, the lease ends earlier for the next daemon, and nothing worse happens."""
        directory = self._directory
        if directory is None:
            return
        try:
            directory.record_lease(self._lease)
            directory.cap_logs()
        except OSError as error:
            log.warning(
                LogEvent.LEASE_NOT_RECORDED,
                message="The renewed lease could not be written to the machine's directory.",
                **self.hold.model_dump(),
                error=error.strerror,
            )
        reach(Point.LAUNCHER_LEASE)
