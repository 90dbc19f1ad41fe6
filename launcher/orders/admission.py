"""Admission: reserves a machine's resources on this host before its order is claimed, and frees them at its end."""

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final

import structlog

from launcher.machines.directory import location, used_mib
from launcher.machines.resources import Resources
from launcher.orders.lanes import Lane, Lanes
from shared.log_events import LogEvent
from shared.wire.launchers import Hold

REST_SECONDS: Final = 60.0
"""How long a provider, or a lane, takes no orders after it failed to start a machine for which no order is to blame."""
DISK_CHECK_SECONDS: Final = 5.0
"""The seconds between two reads of the free disk space while there is no room: other programs change it, too."""

ANY_NUMBER: Final = 1 << 30

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Reservation:
    """Room for one machine. `directory` is where the machine uses its disk space; None until that is known.

    `starting` are the providers by one of which the machine is being started, of those that limit that.
    """

    resources: Resources
    starting: frozenset[str] = frozenset()
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """Room for a machine of any of these lanes: the largest need for each resource."""

    reservation: Reservation
    lanes: tuple[Lane, ...]


class Admission:
    """Reserves room by what the orders' lanes need. Once closed, it reserves nothing more."""

    def __init__(
        self,
        state: Path,
        whole: Resources,
        free_disk_mib: Callable[[], int],
        monotonic: Callable[[], float],
        disk_check_seconds: float = DISK_CHECK_SECONDS,
    ) -> None:
        """`whole` is this host's total, except for its disk, whose free space is read each time."""
        self.closed = threading.Event()
        self._state, self._whole, self._free_disk_mib = state, whole, free_disk_mib
        self._monotonic, self._disk_check_seconds = monotonic, disk_check_seconds
        self.rest_seconds = REST_SECONDS
        self._rest_until: dict[str, float] = {}
        """By provider, or by lane: a lane's name has a slash."""
        self._changed = threading.Condition()
        self._reserved: set[Reservation] = set()
        self._lacking: dict[Lane, tuple[str, ...]] = {}
        """The lacking resources of each lane without room, as last logged."""

    def fits(self, need: Resources) -> bool:
        """Return whether even one such machine would fit if nothing else ran here."""
        return need.times_in(self._whole.model_copy(update={"disk_mib": need.disk_mib})) > 0

    def fitting(self, lanes: Iterable[Lane]) -> Lanes:
        """Return the lanes of which at least one machine would fit this host if nothing else ran here."""
        fitting: list[Lane] = []
        for lane in lanes:
            fields = {"lane": lane.name, "provider": lane.provider, "needed": lane.need.model_dump()}
            if self.fits(lane.need):
                fitting.append(lane)
                room = self.room(lane)
                log.info(LogEvent.LANE_SERVED, message="The launcher serves this lane.", room=room, **fields)
            else:
                log.warning(LogEvent.LANE_NOT_SERVED, message="No machine of this lane fits this host.", **fields)
        if not fitting:
            log.error(LogEvent.NO_LANE_SERVED, message="No machine of any lane fits this host: it takes no order.")
        return Lanes(tuple(fitting))

    def room(self, lane: Lane) -> int:
        """Return how many more machines of a lane there is room for."""
        with self._changed:
            return self._room(lane, self._left())

    def reserve(self, lane: Lane) -> Reservation | None:
        """Return room for one machine; None if there is none."""
        with self._changed:
            if self.closed.is_set() or self._room(lane, self._left()) <= 0:
                return None
            return self._take(lane.need, (lane,))

    def reserve_when_free(self, lanes: Iterable[Lane]) -> Room | None:
        """Wait until there is room for a machine of any lane, and reserve it for all that fit; None once closed.

        Each of their needs fits, so for each resource there is room for the largest need among them.
        """
        with self._changed:
            fitting = tuple(self._await(lanes))
            if not fitting:
                return None
            return Room(self._take(reduce(Resources.larger, (lane.need for lane in fitting)), fitting), fitting)

    def readmit(self, hold: Hold, resources: Resources) -> Reservation:
        """Reserve room for a machine that runs already, even if it would not be admitted now."""
        reservation = Reservation(resources)
        with self._changed:
            self._reserved.add(reservation)
        self.fill(reservation, hold)
        return reservation

    def await_room(self, lanes: Iterable[Lane]) -> int:
        """Wait for room, and return how many machines of the smallest lane there is room for; 0 once closed."""
        with self._changed:
            return max(self._await(lanes).values(), default=0)

    def resize(self, reservation: Reservation, lane: Lane) -> None:
        """Set the reservation to what a machine of the order's lane takes, now that the order is known.

        That may be more than was reserved if the claim is a repeat: an earlier one won the order.
        """
        with self._changed:
            reservation.resources, reservation.starting = lane.need, _limited((lane,))
            self._changed.notify_all()

    def note_started(self, reservation: Reservation) -> None:
        """Note that the machine has started: its provider may start another."""
        with self._changed:
            reservation.starting = frozenset()
            self._changed.notify_all()

    def fill(self, reservation: Reservation, hold: Hold) -> None:
        """Record the directory that uses the reservation."""
        reservation.directory = location(self._state, hold.order_id, hold.epoch)

    def free(self, reservation: Reservation) -> None:
        with self._changed:
            self._reserved.discard(reservation)
            self._changed.notify_all()

    def rest(self, provider: str, lanes: Collection[str] = ()) -> None:
        """Admit no orders for a provider for a while: it would fail again, and another host may succeed.

        If lanes are named, only their orders are not admitted.
        """
        log.warning(
            LogEvent.PROVIDER_RESTS,
            message="The provider failed for a fault of this host, and takes no order for a while.",
            provider=provider,
            lanes=tuple(lanes),
            seconds=self.rest_seconds,
        )
        with self._changed:
            self._rest_until |= dict.fromkeys(lanes or (provider,), self._monotonic() + self.rest_seconds)

    def close(self) -> None:
        self.closed.set()
        with self._changed:
            self._changed.notify_all()

    def _await(self, lanes: Iterable[Lane]) -> dict[Lane, int]:
        """Return the lanes that have room, and how much. It returns none only once closed. Called locked.

        Room that was found is not computed again, because another program may have filled the disk since, and no room
        would look like a close.
        """
        wanted = tuple(lanes)
        while not self.closed.is_set():
            left = self._left()
            for lane in wanted:
                self._log_room(lane, left)
            if found := {lane: room for lane in wanted if (room := self._room(lane, left)) > 0}:
                return found
            self._changed.wait(self._disk_check_seconds)
        return {}

    def _log_room(self, lane: Lane, left: Resources) -> None:
        """Log when a lane starts to have no room, and when it has some again. Full slots are not logged, and no full
        number of sessions.
        """
        if left.machines < lane.need.machines or left.sessions < lane.need.sessions:
            return
        lacks = tuple(name for name, value in lane.need if 0 < value > getattr(left, name))
        known = self._lacking.get(lane, ())
        if lacks:
            self._lacking[lane] = lacks
        else:
            self._lacking.pop(lane, None)
        if lacks and not known:
            log.warning(
                LogEvent.LANE_PAUSED,
                message="This host has no room for a machine of this lane: its orders are not taken.",
                lane=lane.name,
                needed=lane.need.model_dump(include=set(lacks)),
                left=left.model_dump(include=set(lacks)),
            )
        elif known and not lacks:
            log.info(
                LogEvent.LANE_RESUMED,
                message="This host has room for a machine of this lane again: its orders are taken.",
                lane=lane.name,
            )

    def _take(self, need: Resources, lanes: Iterable[Lane]) -> Reservation:
        reservation = Reservation(need, _limited(lanes))
        self._reserved.add(reservation)
        return reservation

    def _room(self, lane: Lane, left: Resources) -> int:
        if self._monotonic() < max(self._rest_until.get(one, 0) for one in (lane.provider, lane.name)):
            return 0
        return min(lane.need.times_in(left), max(self._may_start(lane), 0))

    def _may_start(self, lane: Lane) -> int:
        """Return how many more of its provider's machines may be started now. Called locked.

        A claim that its provider cannot carry out yet would take the order from launchers that can, and it would leave
        nothing to choose from: the control plane chooses fairly among the orders that still wait.
        """
        if lane.starting_limit is None:
            return ANY_NUMBER
        return lane.starting_limit - sum(lane.provider in one.starting for one in self._reserved)

    def _left(self) -> Resources:
        """Return what this host has left. Called locked."""
        taken, used = Resources(), 0
        for reservation in self._reserved:
            taken += reservation.resources
            if reservation.directory is not None:  # the free space already excludes what a machine has written
                used += min(used_mib(reservation.directory), reservation.resources.disk_mib)
        disk = Resources(disk_mib=self._free_disk_mib() + used)
        return taken.left_of(self._whole + disk)


def _limited(lanes: Iterable[Lane]) -> frozenset[str]:
    """Return the lanes' providers that limit how many machines may be starting at once."""
    return frozenset(lane.provider for lane in lanes if lane.starting_limit is not None)
