"""The observations of a chaos run: requests and their answers, stored orders, processes and directories."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from functions.domain.order import Order
from shared.domain.order import LEASE
from tests.chaos.schedule import PlannedOrder


@dataclass(frozen=True, slots=True)
class Asked:
    """A create as its client saw it: the ids in the answers, and the refusal."""

    planned: PlannedOrder
    answers: frozenset[str]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a machine, or one that a machine's task started. `vm` is the machine's name, if it is known.

    `machine`: the process is the machine itself.
    """

    pid: int
    vm: str | None
    machine: bool
    argv: str


@dataclass(frozen=True, slots=True)
class Requeued:
    """A failed order that was requeued: the ids of its successors in the answers."""

    order_id: str
    answers: frozenset[str]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Purged:
    """An order that was purged; `done`: the purge was answered."""

    order_id: str
    done: bool
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """An order whose output was downloaded; `content` is None if the download was refused."""

    order_id: str
    content: bytes | None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects of the disruptions."""

    machines_adopted: int = 0
    machines_lost: int = 0
    """Machines that their launcher stopped because their lease was lost."""
    stale_reports: int = 0
    """Reports of launchers that were refused because the lease was lost."""
    worker_reports_refused: int = 0
    """Callbacks that were refused with 409: the lease was lost, or the order had ended."""
    claims_beyond_the_first: int = 0
    detached_children: int = 0
    """Orders that ran a task which detaches a child, except those purged since."""


EFFECTS: Final = Effects()


@dataclass(frozen=True, slots=True)
class Remains:
    """Everything that was read. `keys`: the order of each Idempotency-Key; `objects`: the content of each object."""

    asked: tuple[Asked, ...]
    orders: Mapping[str, Order]
    keys: Mapping[str, str]
    objects: Mapping[str, bytes]
    processes: tuple[Process, ...]
    directories: tuple[str, ...]
    """Names of the machines' directories, `<order id>-<epoch>`."""
    ended: tuple[str, ...] = ()
    """Names of the servers that ended although nobody killed them."""
    requeues: tuple[Requeued, ...] = ()
    purges: tuple[Purged, ...] = ()
    downloads: tuple[Downloaded, ...] = ()
    effects: Effects = EFFECTS
    storm_seconds: float = 0.0
    lease: float = LEASE.total_seconds()
    """In seconds."""
    ages: Mapping[str, float] = field(default_factory=dict)
    """For how long each orphan that was seen since the storm existed, in seconds."""
