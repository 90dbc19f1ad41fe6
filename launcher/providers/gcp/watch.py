"""Watches all running instances on one thread, with one read of them all at a time."""

import threading
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from launcher.providers.gcp.compute import Found
from launcher.providers.gcp.errors import ComputeError
from launcher.providers.gcp.fleet import Fleet
from shared.log_events import LogEvent

MAX_SECONDS: Final = 60.0
"""The longest wait between two reads if none is answered."""

log = structlog.get_logger()


class Watched(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def zones(self) -> tuple[str, ...]: ...

    def ended(self) -> None:
        """Record that the instance no longer runs."""


class Watch:
    def __init__(self, fleet: Fleet, look_seconds: float) -> None:
        self._fleet, self._look_seconds = fleet, look_seconds
        self._changed = threading.Condition()
        self._watched: dict[str, Watched] = {}
        self._runs = False

    def add(self, machine: Watched) -> None:
        with self._changed:
            self._watched[machine.name] = machine
            if not self._runs:
                threading.Thread(target=self._run, name="gcp-watch", daemon=True).start()
                self._runs = True

    def forget(self, machine: Watched) -> None:
        """Stop watching the machine. After this returns, `ended` is not called."""
        with self._changed:
            self._watched.pop(machine.name, None)
            self._changed.notify_all()

    def _run(self) -> None:
        pause = self._look_seconds
        while machines := self._after(pause):
            try:
                self._look(machines)
                pause = self._look_seconds
            except ComputeError as error:
                pause = min(pause * 2, MAX_SECONDS)
                log.warning(
                    LogEvent.INSTANCES_NOT_LISTED,
                    message="The launcher cannot list its instances.",
                    error=str(error),
                    retry_in_seconds=pause,
                )

    def _after(self, pause: float) -> tuple[Watched, ...]:
        """Wait, and return the machines watched then; the thread ends if there are none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._watched, pause)
            self._runs = bool(self._watched)
            return tuple(self._watched.values())

    def _look(self, machines: tuple[Watched, ...]) -> None:
        """Read all instances, and notify the machines that have ended. Raises ComputeError."""
        there = self._fleet.look()
        for machine in machines:
            if self._has_ended(machine, there):
                self._notify(machine)

    def _has_ended(self, machine: Watched, there: Mapping[str, Found]) -> bool:
        """Return whether the instance has ended. If its zone does not answer, it counts as running."""
        try:
            found = there.get(machine.name) or self._fleet.find(machine.name, machine.zones)
        except ComputeError as error:
            log.warning(
                LogEvent.INSTANCE_UNKNOWN,
                message="It is unknown whether the instance runs.",
                name=machine.name,
                error=str(error),
            )
            return False
        return found is None or found.ended

    def _notify(self, machine: Watched) -> None:
        with self._changed:
            if self._watched.get(machine.name) is machine:
                machine.ended()
