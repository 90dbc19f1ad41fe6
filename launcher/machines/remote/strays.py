"""Finds remote machines of this launcher that belong to no held order, and deletes those that it has seen twice.

A cloud may carry out an unanswered request minutes later, and a directory may be lost while its machine runs.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Set
from typing import Final, Generic, TypeVar

import structlog

from launcher.machines.remote.cloud import CloudError, Listed
from launcher.machines.remote.fleet import Fleet
from launcher.machines.remote.marks import Owner, of_hold
from shared.log_events import LogEvent
from shared.wire.launchers import Hold

MAX_SECONDS: Final = 60.0
"""The longest wait between two reads if none is answered."""

M = TypeVar("M", bound=Listed)

CurrentHolds = Callable[[], Collection[Hold]]

log = structlog.get_logger()


class Strays(Generic[M]):
    """Checks every `check_seconds`. `delete` deletes one machine, and raises CloudError."""

    def __init__(self, owner: Owner, fleet: Fleet[M], delete: Callable[[M], object], check_seconds: float) -> None:
        self._owner, self._fleet, self._delete_one, self._check_seconds = owner, fleet, delete, check_seconds
        self._lock = threading.Lock()
        self._begun: set[Hold] = set()
        self._last: Mapping[str, M] = {}
        self._unexplained: frozenset[str] = frozenset()

    def begin(self, hold: Hold) -> None:
        """Count a machine of this hold as explained from now on, even before it exists."""
        with self._lock:
            self._begun.add(hold)

    def end(self, hold: Hold) -> None:
        """Count a machine of this hold as explained only while this launcher has the hold."""
        with self._lock:
            self._begun.discard(hold)

    def watch(self, held: CurrentHolds, until: threading.Event) -> None:
        """Start a thread that looks for strays: a slow deletion must not delay other reads."""
        threading.Thread(target=self._run, args=(held, until), name="remote-strays", daemon=True).start()

    def check(self, held: CurrentHolds) -> None:
        """Delete machines that are strays now and were in the previous list. Raises CloudError.

        The list is older than the holds that it is compared with, so a machine that began meanwhile is not in it.
        """
        there = self._fleet.recent(self._check_seconds)
        if there is self._last:
            return
        self._last = there
        with self._lock:
            begun = frozenset(self._begun)
        known = [of_hold(hold).items() for hold in begun.union(held())]
        strays = {name: found for name, found in there.items() if self._is_stray(found, known)}
        for name in strays.keys() & self._unexplained:
            self._delete(strays[name])
        self._unexplained = frozenset(strays)

    def _is_stray(self, found: M, known: Collection[Set[tuple[str, str]]]) -> bool:
        """Return whether a machine is a stray. A machine of an earlier epoch of a held order is one."""
        if found.ending or not self._owner.made(found.marks):
            return False
        return not any(marks <= found.marks.items() for marks in known)

    def _run(self, held: CurrentHolds, until: threading.Event) -> None:
        pause = 0.0
        while not until.wait(pause):
            try:
                self.check(held)
                pause = self._check_seconds
            except CloudError as error:
                pause = min(max(pause * 2, self._check_seconds), MAX_SECONDS)
                log.error(
                    LogEvent.INSTANCES_NOT_LISTED,
                    message="The launcher cannot look for remote machines that belong to no order.",
                    error=str(error),
                    retry_in_seconds=pause,
                )

    def _delete(self, stray: M) -> None:
        """Delete a stray. If that fails, the next check tries again, and other strays are still deleted."""
        log.warning(
            LogEvent.STRAY_DELETED,
            message="Deleting a remote machine that belongs to no held order.",
            name=stray.name,
            place=stray.place,
        )
        try:
            self._delete_one(stray)
        except CloudError as error:
            log.error(
                LogEvent.INSTANCE_NOT_DELETED,
                message="The remote machine could not be deleted; the launcher tries again.",
                name=stray.name,
                place=stray.place,
                error=str(error),
            )
