"""This launcher's instances, as one list of all shows them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from launcher.providers.gcp.compute import Compute, Found
from launcher.providers.gcp.errors import ComputeError
from launcher.providers.gcp.names import Labels

RECENT_SECONDS: Final = 5.0


class Fleet:
    """However many machines there are, they are looked at with one call."""

    def __init__(self, compute: Compute, labels: Labels, monotonic: Callable[[], float]) -> None:
        self._compute, self._labels, self._monotonic = compute, labels, monotonic
        self._lock = threading.Lock()
        self._seen: Mapping[str, Found] | ComputeError = {}
        self._seen_at = -RECENT_SECONDS

    def look(self) -> Mapping[str, Found]:
        """Return what is there now, by name. Raises ComputeError."""
        with self._lock:
            return self._look()

    def recent(self, within: float = RECENT_SECONDS) -> Mapping[str, Found]:
        """Return what was there at some time in these last seconds: the same object, if nobody has looked since.

        Raises ComputeError, also if nobody could say within that time."""
        with self._lock:
            if self._monotonic() - self._seen_at > within:
                return self._look()
            if isinstance(self._seen, ComputeError):
                raise self._seen
            return self._seen

    def find(self, name: str, zones: Sequence[str]) -> Found | None:
        """Look for one that a list did not show, which proves nothing where a zone does not answer.

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
