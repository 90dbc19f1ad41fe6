"""Admission: a machine's share of this host is reserved before its order is claimed, and freed once it has ended."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final

import structlog

from launcher.machines.directory import location, used_mib
from launcher.machines.resources import Resources
from launcher.orders.lanes import Lane
from shared.wire.launchers import Hold

REST_SECONDS: Final = 60.0
"""How long a provider's orders are not admitted after it could not start a machine through its host's fault."""
LOOK_AGAIN_SECONDS: Final = 5.0
"""How often the disk is looked at while there is no room: others fill it and free it, and tell nobody."""

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Reservation:
    """Room for one machine. `directory` is where it fills its share of the disk, once that is known."""

    resources: Resources
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """Room for a machine of any of these lanes: as much as the one takes that takes the most."""

    reservation: Reservation
    lanes: tuple[Lane, ...]


class Admission:
    """Machines need what their orders' lanes say. Once closed, nothing more is reserved."""

    def __init__(
        self, state: Path, whole: Resources, free_disk_mib: Callable[[], int], monotonic: Callable[[], float]
    ) -> None:
        """`whole` is what this host has in all, but for its disk: that is shared, and asked about each time."""
        self.closed = threading.Event()
        self._state, self._whole, self._free_disk_mib = state, whole, free_disk_mib
        self._monotonic = monotonic
        self._rest_until: dict[str, float] = {}
        self._changed = threading.Condition()
        self._reserved: set[Reservation] = set()
        self._without: dict[Lane, tuple[str, ...]] = {}
        """What each lane that has no room lacks, as was said."""

    def fits(self, need: Resources) -> bool:
        """Return whether even one such machine would fit if nothing else ran here."""
        return need.times_in(self._whole.model_copy(update={"disk_mib": need.disk_mib})) > 0

    def room(self, lane: Lane) -> int:
        """Return how many more machines of a lane there is room for."""
        with self._changed:
            return self._room(lane, self._left())

    def reserve(self, lane: Lane) -> Reservation | None:
        """Return room for one machine; None where there is none."""
        with self._changed:
            if self.closed.is_set() or self._room(lane, self._left()) <= 0:
                return None
            return self._take(lane.need)

    def reserve_when_free(self, lanes: Iterable[Lane]) -> Room | None:
        """Wait until there is room for any lane's machine, and return it for all that fit; None once closed.

        What each of them needs fits, so of each thing there is as much as the most that one of them needs.
        """
        with self._changed:
            fitting = tuple(self._await(lanes))
            if not fitting:
                return None
            return Room(self._take(reduce(Resources.most, (lane.need for lane in fitting))), fitting)

    def readmit(self, hold: Hold, resources: Resources) -> Reservation:
        """Count a machine that runs already, whether or not it would be admitted now."""
        reservation = Reservation(resources)
        with self._changed:
            self._reserved.add(reservation)
        self.fill(reservation, hold)
        return reservation

    def await_room(self, lanes: Iterable[Lane]) -> int:
        """Wait for room, and return how many machines of the smallest lane there is room for; 0 once closed."""
        with self._changed:
            return max(self._await(lanes).values(), default=0)

    def resize(self, reservation: Reservation, need: Resources) -> None:
        """Keep what the order's machine takes, now that it is known which order it is.

        That may be more than was reserved where the claim is a repeat: its order was won by an earlier one.
        """
        with self._changed:
            reservation.resources = need
            self._changed.notify_all()

    def fill(self, reservation: Reservation, hold: Hold) -> None:
        """Say whose the reservation is."""
        reservation.directory = location(self._state, hold.order_id, hold.epoch)

    def free(self, reservation: Reservation) -> None:
        with self._changed:
            self._reserved.discard(reservation)
            self._changed.notify_all()

    def rest(self, provider: str) -> None:
        """Admit nothing of a provider's for a while: other hosts may do better with what it would fail again."""
        log.warning("no order is taken for a while", provider=provider, seconds=REST_SECONDS)
        with self._changed:
            self._rest_until[provider] = self._monotonic() + REST_SECONDS

    def close(self) -> None:
        self.closed.set()
        with self._changed:
            self._changed.notify_all()

    def _await(self, lanes: Iterable[Lane]) -> dict[Lane, int]:
        """Return the lanes that there is room for, and how much; none once closed, and only then. Called locked.

        What was found is not asked for again: others fill the disk meanwhile, and no room would look like the end.
        """
        asked = tuple(lanes)
        while not self.closed.is_set():
            left = self._left()
            for lane in asked:
                self._tell(lane, left)
            if found := {lane: room for lane in asked if (room := self._room(lane, left)) > 0}:
                return found
            self._changed.wait(LOOK_AGAIN_SECONDS)
        return {}

    def _tell(self, lane: Lane, left: Resources) -> None:
        """Say when a lane begins to have no room, and when it has some again. Full slots are no news, whatever is left
        beside them."""
        if left.machines < lane.need.machines:
            return
        lacks = tuple(name for name, value in lane.need if 0 < value > getattr(left, name))
        known = self._without.get(lane, ())
        if lacks:
            self._without[lane] = lacks
        else:
            self._without.pop(lane, None)
        if lacks and not known:
            said = {"needed": lane.need.model_dump(include=set(lacks)), "left": left.model_dump(include=set(lacks))}
            log.warning("no order of a lane is taken: there is no room for its machine", lane=lane.name, **said)
        elif known and not lacks:
            log.info("orders of a lane are taken again: there is room for its machine", lane=lane.name)

    def _take(self, need: Resources) -> Reservation:
        reservation = Reservation(need)
        self._reserved.add(reservation)
        return reservation

    def _room(self, lane: Lane, left: Resources) -> int:
        return 0 if self._monotonic() < self._rest_until.get(lane.provider, 0) else lane.need.times_in(left)

    def _left(self) -> Resources:
        """Return what this host has left. Called locked."""
        taken, used = Resources(), 0
        for reservation in self._reserved:
            taken += reservation.resources
            if reservation.directory is not None:  # what a machine has written is gone from the free space already
                used += min(used_mib(reservation.directory), reservation.resources.disk_mib)
        disk = Resources(disk_mib=self._free_disk_mib() + used)
        return taken.left_of(self._whole + disk)
