"""This launcher's instances, read as one list of all."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from launcher.providers.gcp.compute import Compute, Found
from launcher.providers.gcp.errors import ComputeError
from launcher.providers.gcp.names import Labels

RECENT_SECONDS: Final = 5.0


class Fleet:
    """Reads all instances with one call, however many there are."""

    def __init__(self, compute: Compute, labels: Labels, monotonic: Callable[[], float]) -> None:
        self._compute, self._labels, self._monotonic = compute, labels, monotonic
        self._lock = threading.Lock()
        self._seen: Mapping[str, Found] | ComputeError = {}
        self._seen_at = -RECENT_SECONDS

    def look(self) -> Mapping[str, Found]:
        """Read the current instances, by name. Raises ComputeError."""
        with self._lock:
            return self._look()

    def recent(self, within: float = RECENT_SECONDS) -> Mapping[str, Found]:
        """Return the instances from a read `within` these seconds: the same object until the next read.

        Raises ComputeError, also if the last read within that time failed.
        """
        with self._lock:
            if self._monotonic() - self._seen_at > within:
                return self._look()
            if isinstance(self._seen, ComputeError):
                raise self._seen
            return self._seen

    def find(self, name: str, zones: Sequence[str]) -> Found | None:
        """Look up an instance that the list did not show: a zone that does not answer is left out of lists.

        Raises ComputeError."""
        there = (self._compute.find(zone, name) for zone in zones)
        return next((found for found in there if found is not None), None)

    def _look(self) -> Mapping[str, Found]:
        try:
            self._seen = {found.name: found for found in self._compute.labelled(self._labels)}
        except ComputeError as error:
            self._seen = error
            raise
        finally:
            self._seen_at = self._monotonic()
        return self._seen
