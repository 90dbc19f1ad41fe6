"""Admission: how many machines this launcher runs at once, and who may start the next."""

import threading
from collections.abc import Callable


class Slot:
    """Room for one machine: reserved while its order is being claimed, filled once it is, freed at the end."""


class Slots:
    """Once closed, nothing more is reserved."""

    def __init__(self, count: int) -> None:
        self.closed = threading.Event()
        self._count = count
        self._changed = threading.Condition()
        self._reserved: set[Slot] = set()
        self._filled: set[Slot] = set()

    @property
    def unfilled(self) -> int:
        """How many orders may be in claiming at once: reserved slots count, since their bells are still open."""
        return self._count - len(self._filled)

    def reserve(self) -> Slot | None:
        """Return a slot; None where all are taken."""
        with self._changed:
            return self._take()

    def reserve_when_free(self) -> Slot | None:
        """Wait for a slot; None once closed."""
        with self._changed:
            self._wait_for_room()
            return self._take()

    def await_room(self) -> int:
        """Wait for room and return how many slots there are to reserve; 0 once closed."""
        with self._changed:
            self._wait_for_room()
            return 0 if self.closed.is_set() else self._room()

    def fill(self, slot: Slot) -> None:
        with self._changed:
            self._reserved.discard(slot)
            self._filled.add(slot)
            self._changed.notify_all()

    def free(self, slot: Slot) -> None:
        with self._changed:
            self._reserved.discard(slot)
            self._filled.discard(slot)
            self._changed.notify_all()

    def close(self) -> None:
        self.closed.set()
        with self._changed:
            self._changed.notify_all()

    def wait_until(self, reason: Callable[[], bool]) -> None:
        """Return once `reason()` holds; it is looked at after every change."""
        with self._changed:
            self._changed.wait_for(reason)

    def _wait_for_room(self) -> None:
        """Called with the lock held; returns, too, once closed."""
        self._changed.wait_for(lambda: self.closed.is_set() or self._room() > 0)

    def _take(self) -> Slot | None:
        if self.closed.is_set() or self._room() <= 0:
            return None
        slot = Slot()
        self._reserved.add(slot)
        return slot

    def _room(self) -> int:
        return self._count - len(self._reserved) - len(self._filled)
