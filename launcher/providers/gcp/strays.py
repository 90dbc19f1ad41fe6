"""Instances of this launcher's that no hold explains: looked for as long as it runs, and deleted if seen twice.

An insert that nobody answered may be carried out minutes later; a directory may be lost, and its instance runs on.
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
from shared.wire.launchers import Hold

MOST_SECONDS: Final = 60.0
"""Between two looks, if none is answered."""

Held = Callable[[], Collection[Hold]]

log = structlog.get_logger()


class Strays:
    def __init__(self, options: GcpOptions, compute: Compute, fleet: Fleet) -> None:
        self._options, self._compute, self._fleet = options, compute, fleet
        self._lock = threading.Lock()
        self._begun: set[Hold] = set()
        self._last: Mapping[str, Found] = {}
        self._unexplained: frozenset[str] = frozenset()

    def begin(self, hold: Hold) -> None:
        """Take an instance of this hold to be explained, whether or not it is there yet."""
        with self._lock:
            self._begun.add(hold)

    def end(self, hold: Hold) -> None:
        """Take an instance of this hold to be explained only as long as the hold is this launcher's."""
        with self._lock:
            self._begun.discard(hold)

    def watch(self, held: Held, until: threading.Event) -> None:
        """Look from now on, on a thread of its own: a deletion may take long, and holds up no other look."""
        threading.Thread(target=self._run, args=(held, until), name="gcp-strays", daemon=True).start()

    def look(self, held: Held) -> None:
        """Delete what is unexplained now, and was when it was last looked at. Raises ComputeError.

        The list is older than the holds that it is compared with: what began meanwhile cannot be in it.
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
        """One of an order that is held at a later epoch is unexplained, too: it is fenced off."""
        if not is_own(self._options, found.labels) or found.status in ENDING:
            return False
        return not any(labels <= found.labels.items() for labels in known)

    def _run(self, held: Held, until: threading.Event) -> None:
        pause = 0.0
        while not until.wait(pause):
            try:
                self.look(held)
                pause = self._options.look_seconds
            except ComputeError as error:
                pause = min(max(pause * 2, self._options.look_seconds), MOST_SECONDS)
                log.error("instances of no order cannot be looked for", error=str(error), again_in=pause)

    def _delete(self, stray: Found) -> None:
        """One that cannot be deleted is tried again at the next look, and keeps no other from its end."""
        log.warning("an instance that no order explains is deleted", name=stray.name, zone=stray.zone)
        try:
            self._compute.delete(stray.zone, stray.name)
        except ComputeError as error:
            log.error("an instance cannot be deleted", name=stray.name, zone=stray.zone, error=str(error))
