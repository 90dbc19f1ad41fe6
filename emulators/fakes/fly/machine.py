"""One machine of the fake: its states, its program, and what the API shows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from emulators.fakes.fly.rules import Config, Document


class FlyState(StrEnum):
    CREATED = "created"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Launch:
    """The program to run for a machine: its image's, with these arguments and this environment."""

    machine_id: str
    name: str
    image: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


class Programs(Protocol):
    """Runs the programs of the machines."""

    def knows(self, image: str) -> bool: ...

    def start(self, launch: Launch) -> None: ...

    def terminate(self, machine_id: str) -> None: ...

    def kill(self, machine_id: str) -> None: ...

    def ended(self) -> Mapping[str, int]:
        """Return the exit codes of the programs that have ended since the last call, by the machines' ids."""


@dataclass
class LocalFlyMachine:
    """`due_at` is when its present state ends by itself, as a time of the clock; None: it does not."""

    id: str
    instance_id: str
    name: str
    region: str
    config: Config
    document: Document
    private_ip: str
    state: FlyState
    due_at: float | None
    created_at: datetime
    updated_at: datetime
    destroyed_at: float | None = None
    requested_stop: bool = False
    events: list[Document] = field(default_factory=list)

    def show(self) -> Document:
        """Return the machine as the API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "region": self.region,
            "instance_id": self.instance_id,
            "private_ip": self.private_ip,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "config": self.document,
            "events": list(self.events),
        }


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
