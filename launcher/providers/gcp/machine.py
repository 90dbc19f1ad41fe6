"""A running instance: watches it remotely, and deletes it to stop it."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Final

import structlog

from launcher.machines.port import Patience
from launcher.machines.remote.watch import Watch
from launcher.providers.gcp.compute import Compute, FoundInstance
from launcher.providers.gcp.errors import ComputeError
from launcher.providers.gcp.insertion import InstanceRecord
from shared.log_events import LogEvent

RETRY_SECONDS: Final = 5.0

log = structlog.get_logger()

Deletions = dict[str, str]
"""The operations under way, each by its zone."""


class GcpMachine:
    """`fileno` becomes readable once the watch has seen that the instance has ended."""

    pid: int | None = None
    up: int | None = None
    grace_seconds = 0.0

    def __init__(
        self,
        record: InstanceRecord,
        compute: Compute,
        watch: Watch[FoundInstance],
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        """`gone` is called once this object has finished with the instance. Raises OSError if no descriptor is left."""
        self.name, self.zones = record.name, record.zones
        self._compute, self._watch, self._gone = compute, watch, gone
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        self._deleted = False
        self._hurried = threading.Event()
        watch.add(self)

    def fileno(self) -> int:
        return self._over

    def find(self) -> FoundInstance | None:
        return self._compute.find_in(self.zones, self.name)

    def notice(self, found: FoundInstance | None) -> None:
        if found is None or found.ended:
            os.eventfd_write(self._over, 1)

    def stop(self, patience: Patience) -> None:
        """Delete it, and wait for its end as long as `patience` allows. Once the deletion is accepted, the end is
        certain.

        Raises OSError if the deletion is hurried and cannot be requested."""
        deletions = self._delete_at_last()
        self._deleted = True
        while deletions and patience() > 0 and not self._hurried.is_set():
            deletions = self._left_of(deletions)
        log.info(LogEvent.INSTANCE_DELETED, message="Deleted the instance.", name=self.name, gone=not deletions)

    def kill(self) -> None:
        """Make `stop` as short as possible. There is no faster way to end an instance than its deletion."""
        self._hurried.set()

    def reap(self) -> int | None:
        """Delete the instance even if it ended by itself: its disk costs money while it exists."""
        try:
            if not self._deleted:
                self._delete()
        except ComputeError as error:
            log.error(
                LogEvent.INSTANCE_NOT_DELETED,
                message="The ended instance could not be deleted; the launcher tries again.",
                name=self.name,
                error=str(error),
            )
        self._gone()  # if it still exists, it is a stray from now on
        self.leave()
        return None

    def leave(self) -> None:
        self._watch.forget(self)
        os.close(self._over)

    def _delete_at_last(self) -> Deletions:
        """Try to delete until it is accepted. Raises OSError if a try fails after it was hurried."""
        while True:
            try:
                return self._delete()
            except ComputeError as error:
                log.error(
                    LogEvent.INSTANCE_NOT_DELETED,
                    message="The instance could not be deleted; the launcher tries again.",
                    name=self.name,
                    error=str(error),
                )
                if self._hurried.wait(RETRY_SECONDS):
                    raise OSError(errno.EIO, f"The instance {self.name} cannot be deleted") from error

    def _delete(self) -> Deletions:
        """Request the deletion in every zone. Raises ComputeError."""
        begun = {zone: self._compute.delete(zone, self.name) for zone in self.zones}
        return {zone: operation for zone, operation in begun.items() if operation is not None}

    def _left_of(self, deletions: Deletions) -> Deletions:
        """Wait for a while; return the deletions that are not done. A failed deletion is requested again."""
        try:
            return {
                zone: operation
                for zone, operation in deletions.items()
                if not self._compute.await_operation(zone, operation)
            }
        except ComputeError as error:
            log.error(
                LogEvent.INSTANCE_NOT_DELETED,
                message="The deletion of the instance failed; the launcher tries again.",
                name=self.name,
                error=str(error),
            )
            return self._delete_at_last()
