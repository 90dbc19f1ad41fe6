"""What is known of a chaos run when it is over: what was asked and answered, what is stored, what is still there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from functions.domain.order import Order
from shared.domain.order import LEASE
from tests.chaos.schedule import Wanted


@dataclass(frozen=True, slots=True)
class Asked:
    """A create as its client knows it: the ids it was answered with, and what it was refused with."""

    wanted: Wanted
    answers: frozenset[str]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a machine, or of what a machine's task started. `vm` is its machine's name, where it is known.

    `machine`: it is the machine itself.
    """

    pid: int
    vm: str | None
    machine: bool
    argv: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """A failed order that was to be placed again: the ids of its successors, as answered."""

    order_id: str
    answers: frozenset[str]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Purged:
    """An order that was to be removed; `done`: that was answered."""

    order_id: str
    done: bool
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """An order whose output was fetched: None where that was refused."""

    order_id: str
    content: bytes | None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """What the blows came to."""

    machines_adopted: int = 0
    machines_lost: int = 0
    """Stopped by their launcher, because their lease was lost."""
    stale_reports: int = 0
    """By launchers, refused because their lease was lost."""
    worker_reports_refused: int = 0
    """Refused with 409, because the lease was lost or the order had ended."""
    claims_beyond_the_first: int = 0
    detached_children: int = 0
    """Orders whose task was to start one, and that came to run, but for those that were removed since."""


EFFECTS: Final = Effects()


@dataclass(frozen=True, slots=True)
class Remains:
    """Everything that was read. `keys` leads from an Idempotency-Key to its order; `objects` are whole."""

    asked: tuple[Asked, ...]
    orders: Mapping[str, Order]
    keys: Mapping[str, str]
    objects: Mapping[str, bytes]
    processes: tuple[Process, ...]
    directories: tuple[str, ...]
    """Names of machines' directories, `<order id>-<epoch>`."""
    ended: tuple[str, ...] = ()
    """Names of the servers that ended by themselves."""
    requeues: tuple[Requeue, ...] = ()
    purges: tuple[Purged, ...] = ()
    downloads: tuple[Downloaded, ...] = ()
    effects: Effects = EFFECTS
    storm_seconds: float = 0.0
    lease: float = LEASE.total_seconds()
    """In seconds."""
    ages: Mapping[str, float] = field(default_factory=dict)
    """How long each orphan that was ever seen since the storm had been one, in seconds."""
