"""The port behind which machines are made: a plan that is written down first, then a running machine."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from launcher.machines.directory import VmDirectory
from launcher.machines.resources import Resources
from launcher.providers.process.identity import Trace
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

    `argv` is empty where it is no process of this host; `mode` and `image_digest` are None where the provider has none.
    `vm` is what the machine is called, None where any name will do.
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
        """Its process, in a session of its own; None where it is no process of this host."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable once the machine has ended."""

    def stop(self, patience: Patience) -> None:
        """Ask politely, then less politely; return when nothing of it is left. Ended already is no error."""

    def kill(self) -> None:
        """End it now, from whichever thread, without waiting for the end."""

    def reap(self) -> int | None:
        """Return the exit code of a machine that has ended, having ended what it left behind.

        None where it was no child of ours, and only its parent is told."""

    def leave(self) -> None:
        """Let it run on, and watch it no more."""


class Keeper(Protocol):
    """Finds machines again that an earlier daemon started. Raises LaunchFailed where it cannot ask for them now."""

    def trace(self, directory: VmDirectory) -> Trace:
        """Return what is left of the directory's machine. Raises OSError, ValidationError where that cannot be told."""

    def adopt(self, directory: VmDirectory) -> Machine | None:
        """Return the directory's machine; None where it has just ended. Raises OSError, ValidationError as `trace`."""


class Provider(Keeper, Protocol):
    """`loopback_gateway` is where its machines find this host's loopback addresses; None where they are their own."""

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

    def keep_clear(self, held: Callable[[], Collection[Hold]], until: threading.Event) -> None:
        """From now on, until told, end machines of this launcher's that run elsewhere, and that no hold explains.

        To be called once, when earlier machines have been adopted; `held` returns what is held when it is called.
        """
