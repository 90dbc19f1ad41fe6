"""This launcher's remote machines, read as one list of all."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar

from launcher.machines.remote.cloud import CloudError, Listed

M = TypeVar("M", bound=Listed)

RECENT_SECONDS: Final = 5.0


class Fleet(Generic[M]):
    """Reads all machines with one call of `read`, however many there are."""

    def __init__(self, read: Callable[[], Iterable[M]], monotonic: Callable[[], float]) -> None:
        self._read, self._monotonic = read, monotonic
        self._lock = threading.Lock()
        self._seen: Mapping[str, M] | CloudError = {}
        self._seen_at = -RECENT_SECONDS

    def list(self) -> Mapping[str, M]:
        """Read the current machines, by name. Raises CloudError."""
        with self._lock:
            return self._list()

    def recent(self, within: float = RECENT_SECONDS) -> Mapping[str, M]:
        """Return the machines from a read `within` these seconds: the same object until the next read.

        Raises CloudError, also if the last read within that time failed.
        """
        with self._lock:
            if self._monotonic() - self._seen_at > within:
                return self._list()
            if isinstance(self._seen, CloudError):
                raise self._seen
            return self._seen

    def _list(self) -> Mapping[str, M]:
        try:
            self._seen = {found.name: found for found in self._read()}
        except CloudError as error:
            self._seen = error
            raise
        finally:
            self._seen_at = self._monotonic()
        return self._seen
