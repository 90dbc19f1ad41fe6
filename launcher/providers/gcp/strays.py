"""Finds instances of this launcher that belong to no held order, and deletes those that it has seen twice.

Compute Engine may carry out an unanswered insert minutes later, and a directory may be lost while its instance runs.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Set
from typing import Final

import structlog

from launcher.providers.gcp.compute import ENDING, Compute, Found
from launcher.providers.gcp.errors import ComputeError
from launcher.providers.gcp.fleet import Fleet
from launcher.providers.gcp.names import is_own, of_hold
from launcher.providers.gcp.options import GcpOptions
from shared.log_events import LogEvent
from shared.wire.launchers import Hold

MAX_SECONDS: Final = 60.0
"""The longest wait between two reads if none is answered."""

CurrentHolds = Callable[[], Collection[Hold]]

log = structlog.get_logger()


class Strays:
    def __init__(self, options: GcpOptions, compute: Compute, fleet: Fleet) -> None:
        self._options, self._compute, self._fleet = options, compute, fleet
        self._lock = threading.Lock()
        self._begun: set[Hold] = set()
        self._last: Mapping[str, Found] = {}
        self._unexplained: frozenset[str] = frozenset()

    def begin(self, hold: Hold) -> None:
        """Count an instance of this hold as explained from now on, even before it exists."""
        with self._lock:
            self._begun.add(hold)

    def end(self, hold: Hold) -> None:
        """Count an instance of this hold as explained only while this launcher has the hold."""
        with self._lock:
            self._begun.discard(hold)

    def watch(self, held: CurrentHolds, until: threading.Event) -> None:
        """Start a thread that looks for strays: a slow deletion must not delay other reads."""
        threading.Thread(target=self._run, args=(held, until), name="gcp-strays", daemon=True).start()

    def look(self, held: CurrentHolds) -> None:
        """Delete instances that are strays now and were in the previous list. Raises ComputeError.

        The list is older than the holds that it is compared with, so an instance that began meanwhile is not in it.
        """
        there = self._fleet.recent(self._options.look_seconds)
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

    def _is_stray(self, found: Found, known: Collection[Set[tuple[str, str]]]) -> bool:
        """Return whether an instance is a stray. An instance of an earlier epoch of a held order is one."""
        if not is_own(self._options, found.labels) or found.status in ENDING:
            return False
        return not any(labels <= found.labels.items() for labels in known)

    def _run(self, held: CurrentHolds, until: threading.Event) -> None:
        pause = 0.0
        while not until.wait(pause):
            try:
                self.look(held)
                pause = self._options.look_seconds
            except ComputeError as error:
                pause = min(max(pause * 2, self._options.look_seconds), MAX_SECONDS)
                log.error(
                    LogEvent.INSTANCES_NOT_LISTED,
                    message="The launcher cannot look for instances that belong to no order.",
                    error=str(error),
                    retry_in_seconds=pause,
                )

    def _delete(self, stray: Found) -> None:
        """Delete a stray. If that fails, the next look tries again, and other strays are still deleted."""
        log.warning(
            LogEvent.STRAY_DELETED,
            message="Deleting an instance that belongs to no held order.",
            name=stray.name,
            zone=stray.zone,
        )
        try:
            self._compute.delete(stray.zone, stray.name)
        except ComputeError as error:
            log.error(
                LogEvent.INSTANCE_NOT_DELETED,
                message="The instance could not be deleted; the launcher tries again.",
                name=stray.name,
                zone=stray.zone,
                error=str(error),
            )
