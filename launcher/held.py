"""An order in this launcher's hands: its lease, the wish to stop it, and its machine while there is one."""

import os
import select
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from launcher.vm.provider import Machine
from shared.api import Claimed, Hold

LEASE_MARGIN: Final = 10.0
"""How many seconds before its lease ends a machine is killed: by then another launcher's may be about to start."""


class Wish(StrEnum):
    """Why a machine is to be stopped."""

    CANCELLED = "cancelled"
    FINISHED = "finished"
    LEASE_LOST = "lease_lost"
    GOING_DOWN = "going_down"


class Held:
    """Shared between the order's own thread, the heartbeat's, and the daemon's; `close` it at the end.

    Its lease is counted in seconds since it was asked for, on a clock that nobody sets: so it never ends later here
    than it does for the control plane, whatever time of day either takes it to be.
    """

    def __init__(self, claimed: Claimed, asked_at: float, monotonic: Callable[[], float]) -> None:
        self.claimed = claimed
        self.hold = Hold(order_id=claimed.order_id, epoch=claimed.epoch)
        self.asked = threading.Event()
        """A wish was made."""
        self.hurried = threading.Event()
        """Whatever still takes time is to be given up."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lease_ends = asked_at + claimed.lease_seconds
        self._wish: Wish | None = None
        self._machine: Machine | None = None
        self._woken = os.eventfd(0, os.EFD_CLOEXEC)
        self._closed = False

    @property
    def wish(self) -> Wish | None:
        return self._wish

    def renew(self, asked_at: float, lease_seconds: float) -> None:
        self._lease_ends = asked_at + lease_seconds

    def lease_left(self) -> float:
        """Return the seconds that the machine may still run under its lease; 0 or less: it must be gone."""
        return self._lease_ends - LEASE_MARGIN - self._monotonic()

    def leased(self) -> bool:
        """Return whether the lease stands, so that a report may still be taken."""
        return self._monotonic() < self._lease_ends

    def ask(self, wish: Wish) -> None:
        """Wish the machine stopped. The first wish counts, but for a lost lease, which overrules all."""
        with self._lock:
            if self._wish is None or wish is Wish.LEASE_LOST:
                self._wish = wish
            self.asked.set()
            if not self._closed:
                os.eventfd_write(self._woken, 1)

    def hurry(self) -> None:
        with self._lock:
            self.hurried.set()
            if self._machine is not None:
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
        events.register(self._woken, select.POLLIN)
        while not (happened := dict(events.poll(max(self.lease_left(), 0) * 1000))):
            if self.lease_left() <= 0:
                self.ask(Wish.LEASE_LOST)
        return machine.fileno() in happened

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self._woken)
