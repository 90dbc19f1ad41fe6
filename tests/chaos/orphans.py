"""Machines, and what is left of them, that no order has; and how long each has been so."""

from collections.abc import Iterable, Mapping
from typing import Final

from functions.domain.order import HELD, LAPSE_MARGIN, Order
from launcher.providers.process.supervise import KILL_SECONDS, TERM_SECONDS
from tests.chaos.observations import Process

HEARTBEAT_SECONDS: Final = 2.0
"""How often the run's launchers tell what they hold."""
BUSY_SECONDS: Final = 20.0
"""What a host with two cores may be late by, when all of this happens on it at once."""


def bound(lease: float) -> float:
    """Return how many seconds something may be left that no order has.

    A launcher must stop a machine before its lease ends; it hears of what it lost in its next heartbeat; a machine
    that does not heed SIGTERM is killed. What a task detaches lives longer than this, and so does what was frozen.
    """
    return lease + LAPSE_MARGIN.total_seconds() + HEARTBEAT_SECONDS + TERM_SECONDS + KILL_SECONDS + BUSY_SECONDS


def orphans(orders: Iterable[Order], processes: Iterable[Process], directories: Iterable[str]) -> list[str]:
    """Return what there is of machines that no held order has at its present epoch, each in words of its own."""
    held = [order for order in orders if order.state in HELD]
    vms = {order.vm for order in held if order.vm is not None}
    names = {f"{order.id}-{order.epoch}" for order in held}
    return [
        *(f"process {process.pid} of {process.vm}: {process.argv}" for process in processes if process.vm not in vms),
        *(f"the directory of a machine, {name}" for name in directories if name not in names),
    ]


class Ages:
    """How long each orphan has been one, as far as it was looked at."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._longest: dict[str, float] = {}

    @property
    def longest(self) -> Mapping[str, float]:
        """In seconds, of all that ever were."""
        return dict(self._longest)

    def look(self, now: float, names: Iterable[str]) -> None:
        """Note those that are there now; `now` is in seconds, and never goes back."""
        self._since = {name: self._since.get(name, now) for name in names}
        for name, since in self._since.items():
            self._longest[name] = max(self._longest.get(name, 0.0), now - since)
