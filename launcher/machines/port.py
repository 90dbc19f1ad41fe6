"""The port of the providers, which make machines: first a plan, which is recorded, then a running machine."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from launcher.machines.directory import VmDirectory
from launcher.machines.explanations import EXPLANATIONS
from launcher.machines.resources import Resources
from shared.domain.order import Failure, Reason
from shared.domain.spec import AnySpec
from shared.guest.config import WorkerConfig
from shared.wire.launchers import Hold

OF_SIZE: Final = frozenset({Reason.DISK_FULL, Reason.NO_CAPACITY})
"""The reasons that depend on how large the machine is."""


class Concerns(Enum):
    """Whose orders would fail in the same way now."""

    ORDER = auto()
    """This order alone: what it asks for is wrong, or cannot be had now."""
    LANE = auto()
    """The orders of its lane, such as those of its size; a smaller machine may start."""
    PROVIDER = auto()
    """All orders that the provider would make machines for."""


class LaunchFailed(Exception):
    """The machine did not start. Another attempt, or another host, may do better.

    The message is for the launcher's log. `explanation` is for whoever placed the order, and must name nothing of the
    host, of its account at a cloud, or of a library; None: what EXPLANATIONS says of the reason.
    """

    def __init__(
        self,
        message: str,
        reason: Reason = Reason.LAUNCH_FAILED,
        failure: Failure = Failure.RETRYABLE,
        concerns: Concerns | None = None,
        explanation: str | None = None,
    ) -> None:
        """`concerns` None: what the reason and the failure say."""
        super().__init__(message)
        self.reason, self.failure = reason, failure
        self.concerns = concerns or _concerns(reason, failure)
        self.explanation = explanation or EXPLANATIONS[reason]


def _concerns(reason: Reason, failure: Failure) -> Concerns:
    """A host that has no room for a machine may have some for a smaller one."""
    if failure is Failure.PERMANENT:
        return Concerns.ORDER
    return Concerns.LANE if reason in OF_SIZE else Concerns.PROVIDER


@dataclass(frozen=True, slots=True)
class MachinePlan:
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

    @property
    def up(self) -> int | None:
        """Return a descriptor that becomes readable once the machine runs, or has run.

        None if its worker itself reports that it runs."""

    @property
    def grace_seconds(self) -> float:
        """Return how long its worker's last report may take after a success; 0 if the worker waits for the answer."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable once the machine has ended."""

    def stop(self, patience: Patience) -> None:
        """Stop the machine, gently at first, and return once it is gone. It may have ended already."""

    def kill(self) -> None:
        """End it now, without waiting for the end. Any thread may call this."""

    def reap(self) -> int | None:
        """End the processes that an ended machine left behind, and return its exit code.

        The code is None if the machine is not a child of this daemon: only its parent gets the code."""

    def leave(self) -> None:
        """Stop watching the machine, and let it run on."""


class MachineState(Enum):
    """The state of a directory's machine."""

    NEVER_RAN = auto()
    """No process was recorded, so no machine was started."""
    RUNS = auto()
    ENDED = auto()
    """The process is gone, or has ended and is not reaped yet. Another process may have its number now."""
    UNEXPLAINED = auto()
    """The recorded process runs, and its arguments do not name the machine."""


class Recoverer(Protocol):
    """Finds the machines that an earlier daemon started. Raises LaunchFailed if it cannot look for them now."""

    def state_of(self, directory: VmDirectory, /) -> MachineState:
        """Return the state of the directory's machine. Raises OSError, ValidationError if it is unknown."""

    def adopt(self, directory: VmDirectory, /) -> Machine | None:
        """Return the directory's machine; None if it has just ended. Raises OSError, ValidationError as `state_of`."""


class Provider(Recoverer, Protocol):
    """Makes machines. `loopback_gateway` is the address by which they reach what they may of this host's loopback; None
    if that is nothing, or it is their own. `proxy` is the HTTP proxy by which they reach all else; None: there is none.
    """

    @property
    def name(self) -> str: ...

    @property
    def starting_limit(self) -> int | None:
        """Return how many of its machines may be starting at once; None: any number."""

    @property
    def loopback_gateway(self) -> str | None: ...

    @property
    def proxy(self) -> str | None: ...

    def resources(self, spec: AnySpec, /) -> Resources:
        """Return the resources that a machine for this order takes from this host."""

    def plan(self, hold: Hold, uuid: str, config: WorkerConfig, /) -> MachinePlan:
        """Verify the image, and return how to start a machine. Raises ImageRejected, LaunchFailed."""

    def start(self, directory: VmDirectory) -> Machine:
        """Start the machine that the directory describes. Raises ImageRejected, LaunchFailed: then nothing runs."""

    def delete_strays(self, held: Callable[[], Collection[Hold]], until: threading.Event) -> None:
        """Delete this launcher's remote machines that belong to no held order, from now on until `until` is set.

        Call it once, after earlier machines were adopted; `held` returns what is held when it is called. Providers of
        this host have none.
        """
