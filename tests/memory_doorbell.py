"""A broker in memory: both ends of the doorbell."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from launcher.daemon.bells import DeliveredBell
from shared.wire.bell import Bell


class MemoryDoorbell:
    """A broker of one topic and one subscription: each bell goes to one listener, again until it is acknowledged.

    `patience` is how many seconds `pull` waits.
    """

    def __init__(self, patience: float = 5.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._monotonic = patience, monotonic
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Bell]] = []
        """Each bell with the time from which it may be delivered, and its number in the order of arrival."""
        self._numbers = itertools.count(1)

    def ring(self, bell: Bell) -> None:
        self._offer(bell, self._monotonic())

    def pull(self, most: int) -> Sequence[DeliveredBell]:
        with self._changed:
            end = self._monotonic() + self._patience
            while not (ready := self._ready(most)) and (left := end - self._monotonic()) > 0:
                self._changed.wait(min(left, self._until_next(left)))
            for entry in ready:
                self._waiting.remove(entry)
        return [DeliveredBell(bell, str(number)) for _, number, bell in ready]

    def acknowledge(self, delivered: DeliveredBell) -> None:
        """Do nothing: `pull` has removed the bell."""

    def give_back(self, delivered: DeliveredBell, after: timedelta) -> None:
        self._offer(delivered.bell, self._monotonic() + after.total_seconds())

    def _offer(self, bell: Bell, ready_at: float) -> None:
        with self._changed:
            self._waiting.append((ready_at, next(self._numbers), bell))
            self._changed.notify_all()

    def _ready(self, most: int) -> list[tuple[float, int, Bell]]:
        now = self._monotonic()
        return [entry for entry in sorted(self._waiting, key=lambda entry: entry[:2]) if entry[0] <= now][:most]

    def _until_next(self, otherwise: float) -> float:
        return min((ready_at - self._monotonic() for ready_at, _, _ in self._waiting), default=otherwise)
