"""Machines, and what is left of them, that belong to no order; and for how long."""

from collections.abc import Iterable, Mapping
from typing import Final

from functions.domain.order import HELD, LAPSE_MARGIN, Order
from launcher.providers.process.supervise import KILL_SECONDS, TERM_SECONDS
from tests.chaos.observations import Process

HEARTBEAT_SECONDS: Final = 2.0
"""How often the run's launchers send a heartbeat."""
BUSY_SECONDS: Final = 20.0
"""An allowance for a host of two cores that does all of this at the same time."""


def bound(lease: float) -> float:
    """Return for how many seconds something may exist that belongs to no order.

    A launcher must stop a machine before its lease ends; its next heartbeat says what it lost; a machine that ignores
    SIGTERM is killed. A task's detached child runs for longer than this, and so does a frozen machine.
    """
    return lease + LAPSE_MARGIN.total_seconds() + HEARTBEAT_SECONDS + TERM_SECONDS + KILL_SECONDS + BUSY_SECONDS


def orphans(orders: Iterable[Order], processes: Iterable[Process], directories: Iterable[str]) -> list[str]:
    """Return a description of each process and directory that belongs to no held order at its current epoch."""
    held = [order for order in orders if order.state in HELD]
    vms = {order.vm for order in held if order.vm is not None}
    names = {f"{order.id}-{order.epoch}" for order in held}
    return [
        *(f"process {process.pid} of {process.vm}: {process.argv}" for process in processes if process.vm not in vms),
        *(f"the directory of a machine, {name}" for name in directories if name not in names),
    ]


class Ages:
    """How long each orphan has existed, according to the observations."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._longest: dict[str, float] = {}

    @property
    def longest(self) -> Mapping[str, float]:
        """In seconds, for every orphan that was ever seen."""
        return dict(self._longest)

    def observe(self, now: float, names: Iterable[str]) -> None:
        """Record the orphans of this moment; `now` is in seconds, and never decreases."""
        self._since = {name: self._since.get(name, now) for name in names}
        for name, since in self._since.items():
            self._longest[name] = max(self._longest.get(name, 0.0), now - since)
