"""The instances and operations of the fake, moved on by a clock: each look settles what has come due."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol

from emulators.fakes.compute.behaviour import Behaviour, Shortage
from emulators.fakes.compute.rules import Document, metadata

CONFIG_KEY: Final = "launchyard-config"

Place = tuple[str, str, str]
"""Project, zone and name: what an instance is known by."""


class NameTaken(Exception):
    """An instance of this name is there already."""


class NotThere(Exception):
    """There is no such instance or operation."""


class Guests(Protocol):
    """What runs inside instances."""

    def start(self, name: str, config: str) -> None: ...

    def stop(self, name: str) -> None: ...

    def ended(self) -> set[str]:
        """Return the names of those that ended by themselves since the last call."""


@dataclass
class Operation:
    """`done_at` is by the engine's clock; `error` is a code of Compute Engine's."""

    name: str
    kind: str
    place: Place
    done_at: float
    error: str | None = None


@dataclass
class Instance:
    """From `gone_at`, once it began to stop, it is gone where it was `deleted`, and else TERMINATED."""

    id: int
    place: Place
    body: Document
    stage_seconds: float
    inserted_at: float
    gone_at: float | None = None
    deleted: bool = False
    booted: bool = False

    @property
    def name(self) -> str:
        return self.place[2]

    @property
    def runs_from(self) -> float:
        return self.inserted_at + 2 * self.stage_seconds

    @property
    def ends_at(self) -> float | None:
        """When its maxRunDuration is over."""
        longest = self.body.get("scheduling", {}).get("maxRunDuration")
        return None if longest is None else self.runs_from + int(longest["seconds"])

    def status(self, now: float) -> str:
        if self.gone_at is not None:
            return "STOPPING" if now < self.gone_at else "TERMINATED"
        if now < self.inserted_at + self.stage_seconds:
            return "PROVISIONING"
        return "STAGING" if now < self.runs_from else "RUNNING"


@dataclass
class Engine:
    """Every method may be called from any thread. `forward` is by how much the clock was set forward."""

    clock: Callable[[], float]
    guests: Guests
    behaviour: Behaviour = field(default_factory=Behaviour)
    forward: float = 0
    instances: dict[Place, Instance] = field(default_factory=dict)
    made: list[Instance] = field(default_factory=list)
    """Every instance that there ever was."""
    _operations: dict[str, Operation] = field(default_factory=dict)
    _by_request: dict[str, Operation] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def now(self) -> float:
        return self.clock() + self.forward

    def insert(self, project: str, zone: str, body: Document, request_id: str) -> Operation:
        """Begin an instance. A request that was seen before has the same operation. Raises NameTaken."""
        place = (project, zone, body["name"])
        with self._settled() as now:
            if request_id in self._by_request:
                return self._by_request[request_id]
            if place in self.instances:
                raise NameTaken
            shortage = self._shortage(zone)
            made = Instance(next(self._numbers), place, body, self.behaviour.stage_seconds, now)
            if shortage is None or shortage.lingers:
                self.instances[place] = made
                self.made.append(made)
            return self._begun("insert", place, made.runs_from, request_id, shortage.code if shortage else None)

    def delete(self, place: Place, request_id: str) -> Operation:
        """Raises NotThere."""
        with self._settled() as now:
            if request_id in self._by_request:
                return self._by_request[request_id]
            instance = self._find(place)
            self._stop(instance, now, deleted=True)
            return self._begun("delete", place, instance.gone_at or now, request_id)

    def find(self, place: Place) -> Instance:
        """Raises NotThere."""
        with self._settled():
            return self._find(place)

    def those(self, chosen: Callable[[Instance], bool]) -> list[Instance]:
        with self._settled():
            return sorted(filter(chosen, self.instances.values()), key=lambda instance: instance.place)

    def operation(self, name: str) -> Operation:
        """Raises NotThere."""
        with self._settled():
            if name not in self._operations:
                raise NotThere
            return self._operations[name]

    def settle(self) -> None:
        """Do what has come due: boot what runs, end what ran long enough or whose guest ended, forget what is gone."""
        with self._settled():
            return

    def end(self) -> None:
        """Stop every guest."""
        with self._lock:
            for instance in self.instances.values():
                self.guests.stop(instance.name)

    @contextmanager
    def _settled(self) -> Iterator[float]:
        """The engine, locked, with everything done that had come due by the time that is yielded."""
        with self._lock:
            now = self.now()
            self._settle(now)
            yield now

    def _settle(self, now: float) -> None:
        ended = self.guests.ended()
        for place, instance in list(self.instances.items()):
            if instance.gone_at is None and instance.ends_at is not None and now >= instance.ends_at:
                action = instance.body["scheduling"]["instanceTerminationAction"]
                self._stop(instance, instance.ends_at, deleted=action == "DELETE")
            if instance.name in ended:
                self._stop(instance, now, deleted=False)
            if instance.deleted and instance.gone_at is not None and now >= instance.gone_at:
                del self.instances[place]
            elif self.behaviour.boot and instance.status(now) == "RUNNING" and not instance.booted:
                instance.booted = True
                self.guests.start(instance.name, _config(instance.body))

    def _stop(self, instance: Instance, now: float, deleted: bool) -> None:
        if instance.gone_at is None:
            instance.gone_at = now + self.behaviour.stage_seconds
            self.guests.stop(instance.name)
        instance.deleted = instance.deleted or deleted

    def _find(self, place: Place) -> Instance:
        if place not in self.instances:
            raise NotThere
        return self.instances[place]

    def _shortage(self, zone: str) -> Shortage | None:
        return next((short for short in self.behaviour.shortages if short.zone in (None, zone)), None)

    def _begun(self, kind: str, place: Place, done_at: float, request_id: str, error: str | None = None) -> Operation:
        operation = Operation(f"operation-{next(self._numbers)}", kind, place, done_at, error)
        self._operations[operation.name] = operation
        if request_id:
            self._by_request[request_id] = operation
        return operation


def _config(body: Document) -> str:
    values: dict[str, str] = {item["key"]: item["value"] for item in metadata(body)}
    return values.get(CONFIG_KEY, "")
