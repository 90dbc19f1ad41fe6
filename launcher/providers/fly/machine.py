"""A machine of Fly: watches it remotely, stops it and has it destroyed."""

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from launcher.machines.port import Patience
from launcher.machines.remote.watch import Watch
from launcher.providers.fly.errors import FlyError
from launcher.providers.fly.machines_api import FoundMachine, MachinesApi
from shared.log_events import LogEvent

RETRY_SECONDS: Final = 5.0
STOP_SECONDS: Final = 10.0
"""How long a machine's program may take to end before the machine is destroyed under it. Fly itself gives it 5 s."""
POLL_SECONDS: Final = 1.0
"""The seconds between two looks at the patience, which may end early."""
GRACE_SECONDS: Final = 30.0
"""How long the last report of a foreign image's worker may take: such a worker sends it once, and does not wait."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MachineTarget:
    """Which machine it is. `id` is None until it is known; `marks` are by which it is found then."""

    name: str
    marks: Mapping[str, str]
    id: str | None
    foreign: bool
    """Its image is not our own."""
    silent: bool
    """Its worker does not report that it has started."""


class FlyMachine:
    """`fileno` becomes readable once the watch has seen that the machine has ended, `up` that it runs or has run."""

    pid: int | None = None

    def __init__(
        self,
        target: MachineTarget,
        api: MachinesApi,
        watch: Watch[FoundMachine],
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        """`gone` is called once this object has finished with the machine. Raises OSError if no descriptor is left."""
        self.name = target.name
        self.grace_seconds = GRACE_SECONDS if target.foreign else 0.0
        self._target, self._api, self._watch, self._gone = target, api, watch, gone
        self._id = target.id
        self._changed = threading.Condition()
        self._seen: FoundMachine | None = None
        self._vanished = False
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        self.up = os.eventfd(0, os.EFD_CLOEXEC) if target.silent else None
        self._hurried = threading.Event()
        watch.add(self)

    def fileno(self) -> int:
        return self._over

    def find(self) -> FoundMachine | None:
        """Look up the machine, which can be read by its id for a while after its end."""
        if self._id is not None:
            return self._api.get(self._id)
        found = next((one for one in self._api.marked(self._target.marks) if one.name == self.name), None)
        self._id = None if found is None else found.id
        return found

    def notice(self, found: FoundMachine | None) -> None:
        with self._changed:
            self._seen, self._vanished = found or self._seen, found is None
            self._id = found.id if found else self._id
            self._changed.notify_all()
        if self.up is not None and found is not None and (found.up or found.exit_code is not None):
            os.eventfd_write(self.up, 1)
        if found is None or found.ended:
            os.eventfd_write(self._over, 1)

    def stop(self, patience: Patience) -> None:
        """Stop the machine, then have it destroyed, and wait for that as long as `patience` allows.

        A machine that is stopped destroys itself. Raises OSError if a request is hurried and cannot be made."""
        if patience() > 0 and not self._hurried.is_set() and not self._is(_ending):
            self._insisted(self._api.stop)
            self._await(_ending, patience, STOP_SECONDS)
        if not self._is(_ending):
            self._insisted(self._api.destroy)
        gone = self._await(lambda found: found.state == "destroyed", patience)
        log.info(LogEvent.INSTANCE_DELETED, message="Destroyed the machine.", name=self.name, gone=gone)

    def kill(self) -> None:
        """Make `stop` as short as possible."""
        self._hurried.set()
        with self._changed:
            self._changed.notify_all()

    def reap(self) -> int | None:
        """Have what is left of an ended machine destroyed, and return its exit code; None if Fly has none."""
        found = self._seen
        try:
            if found is None or not found.ending or found.exit_code is None:
                found = self.find() or found
            if found is not None and not found.ending:
                self._api.destroy(found.id)
        except FlyError as error:
            self._log_not_destroyed(error)
        self._gone()  # if it still exists, it is a stray from now on
        self.leave()
        return None if found is None else found.exit_code

    def leave(self) -> None:
        self._watch.forget(self)
        os.close(self._over)
        if self.up is not None:
            os.close(self.up)

    def _insisted(self, request: Callable[[str], None]) -> None:
        """Send a request until it is accepted. Raises OSError if a try fails after it was hurried."""
        while True:
            try:
                if self._id is not None or self.find() is not None:
                    request(str(self._id))
                return
            except FlyError as error:
                self._log_not_destroyed(error)
                if self._hurried.wait(RETRY_SECONDS):
                    raise OSError(errno.EIO, f"The machine {self.name} cannot be destroyed") from error

    def _await(self, reached: Callable[[FoundMachine], bool], patience: Patience, seconds: float = math.inf) -> bool:
        """Wait until the watch has seen the machine in a state, or gone; return False if that takes too long.

        It sends no request of its own: many machines that end at once are read with one.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._is(reached):
                left = min(patience(), deadline - time.monotonic())
                if left <= 0 or self._hurried.is_set():
                    return False
                self._changed.wait(min(left, POLL_SECONDS))
        return True

    def _is(self, reached: Callable[[FoundMachine], bool]) -> bool:
        """Return whether the watch has seen the machine in a state, or gone."""
        return self._vanished or (self._seen is not None and reached(self._seen))

    def _log_not_destroyed(self, error: FlyError) -> None:
        log.error(
            LogEvent.INSTANCE_NOT_DELETED,
            message="The machine could not be destroyed; the launcher tries again.",
            name=self.name,
            error=str(error),
        )


def _ending(found: FoundMachine) -> bool:
    return found.ending
