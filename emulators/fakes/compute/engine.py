"""The instances and operations of the fake. Each call first applies what the clock has made due."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol

from emulators.fakes.compute.behaviour import ComputeBehaviour, Shortage
from emulators.fakes.compute.rules import Document, metadata
from emulators.fakes.simulated import NameTaken, NoSuchResource

CONFIG_KEY: Final = "launchyard-config"

InstanceKey = tuple[str, str, str]
"""Project, zone and name: they identify an instance."""


class Guests(Protocol):
    """Starts and stops the programs inside instances."""

    def start(self, name: str, config: str) -> None: ...

    def stop(self, name: str) -> None: ...

    def ended(self) -> set[str]:
        """Return the names of the instances whose program ended by itself since the last call."""


@dataclass
class ComputeOperation:
    """`done_at` is a time of the engine's clock; `error` is one of Compute Engine's codes."""

    name: str
    kind: str
    key: InstanceKey
    done_at: float
    error: str | None = None


@dataclass
class Instance:
    """A stopping instance has a `gone_at`: the time from which it is gone if `deleted`, and else TERMINATED."""

    id: int
    key: InstanceKey
    body: Document
    stage_seconds: float
    inserted_at: float
    gone_at: float | None = None
    deleted: bool = False
    booted: bool = False

    @property
    def name(self) -> str:
        return self.key[2]

    @property
    def runs_from(self) -> float:
        return self.inserted_at + 2 * self.stage_seconds

    @property
    def ends_at(self) -> float | None:
        """When its maxRunDuration ends, or None."""
        limit = self.body.get("scheduling", {}).get("maxRunDuration")
        return None if limit is None else self.runs_from + int(limit["seconds"])

    def status(self, now: float) -> str:
        if self.gone_at is not None:
            return "STOPPING" if now < self.gone_at else "TERMINATED"
        if now < self.inserted_at + self.stage_seconds:
            return "PROVISIONING"
        return "STAGING" if now < self.runs_from else "RUNNING"


@dataclass
class Engine:
    """Any thread may call any method. `forward` is the number of seconds by which the clock was set forward."""

    clock: Callable[[], float]
    guests: Guests
    behaviour: ComputeBehaviour = field(default_factory=ComputeBehaviour)
    forward: float = 0
    instances: dict[InstanceKey, Instance] = field(default_factory=dict)
    made: list[Instance] = field(default_factory=list)
    """Every instance that was ever created."""
    _operations: dict[str, ComputeOperation] = field(default_factory=dict)
    _by_request: dict[str, ComputeOperation] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def now(self) -> float:
        return self.clock() + self.forward

    def insert(self, project: str, zone: str, body: Document, request_id: str) -> ComputeOperation:
        """Create an instance. A repeated request returns the same operation. Raises NameTaken."""
        key = (project, zone, body["name"])
        with self._settled() as now:
            if request_id in self._by_request:
                return self._by_request[request_id]
            if key in self.instances:
                raise NameTaken
            shortage = self._shortage(zone)
            made = Instance(next(self._numbers), key, body, self.behaviour.stage_seconds, now)
            if shortage is None or shortage.lingers:
                self.instances[key] = made
                self.made.append(made)
            return self._begun("insert", key, made.runs_from, request_id, shortage.code if shortage else None)

    def delete(self, key: InstanceKey, request_id: str) -> ComputeOperation:
        """Raises NoSuchResource."""
        with self._settled() as now:
            if request_id in self._by_request:
                return self._by_request[request_id]
            instance = self._find(key)
            self._stop(instance, now, deleted=True)
            return self._begun("delete", key, instance.gone_at or now, request_id)

    def find(self, key: InstanceKey) -> Instance:
        """Raises NoSuchResource."""
        with self._settled():
            return self._find(key)

    def those(self, chosen: Callable[[Instance], bool]) -> list[Instance]:
        """Return the instances for which `chosen` is true, in the order of their keys."""
        with self._settled():
            return sorted(filter(chosen, self.instances.values()), key=lambda instance: instance.key)

    def operation(self, name: str) -> ComputeOperation:
        """Raises NoSuchResource."""
        with self._settled():
            if name not in self._operations:
                raise NoSuchResource
            return self._operations[name]

    def settle(self) -> None:
        """Apply what is due: boot running instances, stop those that ended or ran too long, forget deleted ones."""
        with self._settled():
            return

    def end(self) -> None:
        """Stop every guest."""
        with self._lock:
            for instance in self.instances.values():
                self.guests.stop(instance.name)

    @contextmanager
    def _settled(self) -> Iterator[float]:
        """Lock the engine, apply what is due, and yield the time."""
        with self._lock:
            now = self.now()
            self._settle(now)
            yield now

    def _settle(self, now: float) -> None:
        ended = self.guests.ended()
        for key, instance in list(self.instances.items()):
            if instance.gone_at is None and instance.ends_at is not None and now >= instance.ends_at:
                action = instance.body["scheduling"]["instanceTerminationAction"]
                self._stop(instance, instance.ends_at, deleted=action == "DELETE")
            if instance.name in ended:
                self._stop(instance, now, deleted=False)
            if instance.deleted and instance.gone_at is not None and now >= instance.gone_at:
                del self.instances[key]
            elif self.behaviour.boot and instance.status(now) == "RUNNING" and not instance.booted:
                instance.booted = True
                self.guests.start(instance.name, _config(instance.body))

    def _stop(self, instance: Instance, now: float, deleted: bool) -> None:
        if instance.gone_at is None:
            instance.gone_at = now + self.behaviour.stage_seconds
            self.guests.stop(instance.name)
        instance.deleted = instance.deleted or deleted

    def _find(self, key: InstanceKey) -> Instance:
        if key not in self.instances:
            raise NoSuchResource
        return self.instances[key]

    def _shortage(self, zone: str) -> Shortage | None:
        return next((short for short in self.behaviour.shortages if short.zone in (None, zone)), None)

    def _begun(
        self, kind: str, key: InstanceKey, done_at: float, request_id: str, error: str | None = None
    ) -> ComputeOperation:
        operation = ComputeOperation(f"operation-{next(self._numbers)}", kind, key, done_at, error)
        self._operations[operation.name] = operation
        if request_id:
            self._by_request[request_id] = operation
        return operation


def _config(body: Document) -> str:
    values: dict[str, str] = {item["key"]: item["value"] for item in metadata(body)}
    return values.get(CONFIG_KEY, "")
