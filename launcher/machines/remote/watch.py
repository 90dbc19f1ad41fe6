"""Watches all running remote machines on one thread, with one read of them all at a time."""

import threading
from collections.abc import Mapping
from typing import Final, Generic, Protocol, TypeVar

import structlog

from launcher.machines.remote.cloud import CloudError, Listed
from launcher.machines.remote.fleet import Fleet
from shared.log_events import LogEvent

MAX_SECONDS: Final = 60.0
"""The longest wait between two reads if none is answered."""

M = TypeVar("M", bound=Listed)

log = structlog.get_logger()


class Watched(Protocol[M]):
    @property
    def name(self) -> str: ...

    def find(self) -> M | None:
        """Look up the machine, which the list did not show; None if it is gone. Raises CloudError."""

    def notice(self, found: M | None) -> None:
        """Take note of the machine as it is now; None: it is gone."""


class Watch(Generic[M]):
    def __init__(self, fleet: Fleet[M], check_seconds: float) -> None:
        self._fleet, self._check_seconds = fleet, check_seconds
        self._changed = threading.Condition()
        self._watched: dict[str, Watched[M]] = {}
        self._runs = False

    def add(self, machine: Watched[M]) -> None:
        with self._changed:
            self._watched[machine.name] = machine
            if not self._runs:
                threading.Thread(target=self._run, name="remote-watch", daemon=True).start()
                self._runs = True

    def forget(self, machine: Watched[M]) -> None:
        """Stop watching the machine. After this returns, `notice` is not called."""
        with self._changed:
            self._watched.pop(machine.name, None)
            self._changed.notify_all()

    def _run(self) -> None:
        pause = self._check_seconds
        while machines := self._after(pause):
            try:
                self._check(machines)
                pause = self._check_seconds
            except CloudError as error:
                pause = min(pause * 2, MAX_SECONDS)
                log.warning(
                    LogEvent.INSTANCES_NOT_LISTED,
                    message="The launcher cannot list its remote machines.",
                    error=str(error),
                    retry_in_seconds=pause,
                )

    def _after(self, pause: float) -> tuple[Watched[M], ...]:
        """Wait, and return the machines watched then; the thread ends if there are none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._watched, pause)
            self._runs = bool(self._watched)
            return tuple(self._watched.values())

    def _check(self, machines: tuple[Watched[M], ...]) -> None:
        """Read all machines, and notify those that are watched. Raises CloudError."""
        there = self._fleet.list()
        for machine in machines:
            self._notify(machine, there)

    def _notify(self, machine: Watched[M], there: Mapping[str, M]) -> None:
        """Notify a machine. If it cannot be looked up, it counts as running."""
        try:
            found = there.get(machine.name) or machine.find()
        except CloudError as error:
            log.warning(
                LogEvent.INSTANCE_UNKNOWN,
                message="It is unknown whether the instance runs.",
                name=machine.name,
                error=str(error),
            )
            return
        with self._changed:
            if self._watched.get(machine.name) is machine:
                machine.notice(found)
