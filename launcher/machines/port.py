"""The port of the providers, which make machines: first a plan, which is recorded, then a running machine."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from launcher.machines.directory import VmDirectory
from launcher.machines.resources import Resources
from shared.domain.order import Failure, Reason
from shared.domain.spec import AnySpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import Hold


class LaunchFailed(Exception):
    """The machine did not start; the message says why. Another attempt, or another host, may do better."""

    def __init__(
        self, message: str, reason: Reason = Reason.LAUNCH_FAILED, failure: Failure = Failure.RETRYABLE
    ) -> None:
        super().__init__(message)
        self.reason, self.failure = reason, failure


@dataclass(frozen=True, slots=True)
class Plan:
    """How one machine will be started.

    `argv` is empty for a remote machine; `mode` and `image_digest` are None if the provider has none. `vm` is the
    machine's name; None: any name will do.
    """

    argv: tuple[str, ...]
    mode: str | None = None
    image_digest: str | None = None
    vm: str | None = None


Patience = Callable[[], float]
"""Returns the seconds that a machine may still take to stop by itself; 0 or less: none."""


class Machine(Protocol):
    """A started machine."""

    @property
    def pid(self) -> int | None:
        """Its process, in a session of its own; None for a remote machine."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable once the machine has ended."""

    def stop(self, patience: Patience) -> None:
        """Ask it to stop, by gentle means first; return when nothing of it is left. It may have ended already."""

    def kill(self) -> None:
        """End it now, without waiting for the end. Any thread may call this."""

    def reap(self) -> int | None:
        """Return the exit code of a machine that has ended, having ended what it left behind.

        None if it is not a child of this daemon: only its parent learns the code."""

    def leave(self) -> None:
        """Let it run on, and stop watching it."""


class MachineState(Enum):
    """What became of a directory's machine."""

    NEVER_RAN = auto()
    """No process was recorded, and a machine runs only after its process was recorded."""
    RUNS = auto()
    ENDED = auto()
    """Gone, or ended and not yet reaped; another process may have its number by now."""
    UNEXPLAINED = auto()
    """The recorded process runs, and its arguments do not name the machine."""


class Recoverer(Protocol):
    """Finds the machines that an earlier daemon started. Raises LaunchFailed if it cannot look for them now."""

    def state_of(self, directory: VmDirectory, /) -> MachineState:
        """Return what became of the directory's machine. Raises OSError, ValidationError if that is unknown."""

    def adopt(self, directory: VmDirectory, /) -> Machine | None:
        """Return the directory's machine; None if it has just ended. Raises OSError, ValidationError as `state_of`."""


class Provider(Recoverer, Protocol):
    """Makes machines. `loopback_gateway` is the address by which they reach this host's loopback; None: as it is."""

    @property
    def name(self) -> str: ...

    @property
    def loopback_gateway(self) -> str | None: ...

    def resources(self, spec: AnySpec, /) -> Resources:
        """Return what a machine for this order takes of this host."""

    def plan(self, hold: Hold, uuid: str, config: WorkerConfig, /) -> Plan:
        """Decide how to start a machine, having verified its image. Raises ImageRejected, LaunchFailed."""

    def start(self, directory: VmDirectory) -> Machine:
        """Start the machine that the directory describes. Raises ImageRejected, LaunchFailed: then nothing runs."""

    def delete_strays(self, held: Callable[[], Collection[Hold]], until: threading.Event) -> None:
        """Delete this launcher's remote machines that belong to no held order, from now on until `until` is set.

        Call it once, after earlier machines were adopted; `held` returns what is held when it is called. Providers of
        this host have none.
        """
