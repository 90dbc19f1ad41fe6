"""Admission: a machine's share of this host is reserved before its order is claimed, and freed once it has ended."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from launcher.vm.directory import location, used_mib
from launcher.vm.resources import Resources
from shared.api import Hold

REST_SECONDS: Final = 60.0
"""How long nothing is admitted after a machine could not be started through this host's fault."""
LOOK_AGAIN_SECONDS: Final = 5.0
"""How often the disk is looked at while there is no room: others fill it and free it, and tell nobody."""

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Reservation:
    """Room for one machine. `directory` is where it fills its share of the disk, once that is known."""

    resources: Resources
    directory: Path | None = None


class Admission:
    """Every machine needs the same, so there is room for a number of them. Once closed, nothing more is reserved."""

    def __init__(
        self,
        state: Path,
        whole: Resources,
        need: Resources,
        free_disk_mib: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """`whole` is what this host has in all, but for its disk: that is shared, and asked about each time."""
        self.closed = threading.Event()
        self._state, self._whole, self._need, self._free_disk_mib = state, whole, need, free_disk_mib
        self._monotonic, self._rests_until = monotonic, 0.0
        self._changed = threading.Condition()
        self._reserved: set[Reservation] = set()

    @property
    def fits(self) -> bool:
        """Whether even one machine would fit if nothing else ran here."""
        return self._need.times_in(self._whole.model_copy(update={"disk_mib": self._need.disk_mib})) > 0

    def room(self) -> int:
        """Return how many more machines there is room for."""
        with self._changed:
            return self._room()

    def reserve(self) -> Reservation | None:
        """Return room for one machine; None where there is none."""
        with self._changed:
            return self._take(self._room())

    def reserve_when_free(self) -> Reservation | None:
        """Wait for room; None once closed."""
        with self._changed:
            return self._take(self._wait_for_room())

    def readmit(self, hold: Hold, resources: Resources) -> Reservation:
        """Count a machine that runs already, whether or not it would be admitted now."""
        reservation = Reservation(resources)
        with self._changed:
            self._reserved.add(reservation)
        self.fill(reservation, hold)
        return reservation

    def await_room(self) -> int:
        """Wait for room and return how many machines there is room for; 0 once closed."""
        with self._changed:
            return self._wait_for_room()

    def fill(self, reservation: Reservation, hold: Hold) -> None:
        """Say whose the reservation is."""
        reservation.directory = location(self._state, hold.order_id, hold.epoch)

    def free(self, reservation: Reservation) -> None:
        with self._changed:
            self._reserved.discard(reservation)
            self._changed.notify_all()

    def rest(self) -> None:
        """Admit nothing for a while: other hosts may do better with what this one would fail again."""
        log.warning("no order is taken for a while", seconds=REST_SECONDS)
        with self._changed:
            self._rests_until = self._monotonic() + REST_SECONDS

    def close(self) -> None:
        self.closed.set()
        with self._changed:
            self._changed.notify_all()

    def _wait_for_room(self) -> int:
        """Return the room that was found; 0 once closed, and only then. Called with the lock held.

        What was found is not asked for again: others fill the disk meanwhile, and no room would look like the end.
        """
        while not self.closed.is_set():
            if (room := self._room()) > 0:
                return room
            self._changed.wait(LOOK_AGAIN_SECONDS)
        return 0

    def _take(self, room: int) -> Reservation | None:
        if self.closed.is_set() or room <= 0:
            return None
        reservation = Reservation(self._need)
        self._reserved.add(reservation)
        return reservation

    def _room(self) -> int:
        if self._monotonic() < self._rests_until:
            return 0
        taken, used = Resources(), 0
        for reservation in self._reserved:
            taken += reservation.resources
            if reservation.directory is not None:  # what a machine has written is gone from the free space already
                used += min(used_mib(reservation.directory), reservation.resources.disk_mib)
        disk = Resources(disk_mib=self._free_disk_mib() + used)
        return self._need.times_in(taken.left_of(self._whole + disk))
