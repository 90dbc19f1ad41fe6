"""Makes an order's instance: records it, requests it zone by zone, and waits for it."""

import errno
import re
import time
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict

from launcher.machines.directory import VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.port import Concerns, LaunchFailed
from launcher.machines.records import write_durably
from launcher.providers.gcp.compute import Compute
from launcher.providers.gcp.errors import (
    EXPLAINED,
    LEFT_NOTHING,
    OF_KIND,
    ComputeError,
    ComputeRefusalKind,
    ComputeRefused,
    ComputeUnreachable,
    launch_failed,
)
from launcher.providers.gcp.instance import Resource, build
from launcher.providers.gcp.names import labels, request_id
from launcher.providers.gcp.options import ANY_ZONE, ZONE_PATTERN, GcpOptions
from shared.domain.spec import CapacitySpec
from shared.log_events import LogEvent
from shared.wire.launchers import Hold

RECORD: Final = "instance.json"
INSERT_SECONDS: Final = 300.0
"""The time limit for an instance to exist, or to be refused."""

log = structlog.get_logger()


class InstanceRecord(BaseModel):
    """The record of where the instance may be. `zones` are those in which it was requested, in order."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project: str
    name: str
    zones: tuple[str, ...]

    def write(self, directory: VmDirectory) -> None:
        """Raises OSError."""
        write_durably(directory.path / RECORD, self.model_dump_json(indent=2).encode())


def read_record(directory: VmDirectory) -> InstanceRecord | None:
    """Return the record; None if no instance was ever requested. Raises OSError, ValidationError."""
    try:
        return InstanceRecord.model_validate_json((directory.path / RECORD).read_bytes())
    except FileNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class InstanceOrder:
    """The instance to make. `config` is the document in which its worker finds its order."""

    hold: Hold
    spec: CapacitySpec
    name: str
    config: str


@dataclass(frozen=True, slots=True)
class Insertion:
    options: GcpOptions
    compute: Compute

    def run(self, directory: VmDirectory, order: InstanceOrder) -> InstanceRecord:
        """Make the instance in the first zone that has room, and return its record.

        Raises LaunchFailed: then there is no instance; and OSError if that is unknown.
        """
        zones, names_zone = self._zones(order.spec), own_zone(order.spec) is not None
        refusals: list[ComputeRefused] = []
        for tried, zone in enumerate(zones, 1):
            try:
                return self._begin(directory, zones[:tried], order)
            except ComputeRefused as refused:
                refusals.append(refused)
                if not self._passes_over(zone, refused, order.spec):
                    own = zone in self.options.own_zones
                    raise launch_failed([refused], names_zone, own) from refused
                log.warning(
                    LogEvent.ZONE_PASSED_OVER,
                    message="The zone has no such machine: the next zone is tried.",
                    zone=zone,
                    error=str(refused),
                )
        raise launch_failed(refusals, names_zone) from refusals[-1]

    def _passes_over(self, zone: str, refused: ComputeRefused, spec: CapacitySpec) -> bool:
        """Return whether another zone may succeed. None can if the order names a zone that does not exist."""
        if refused.kind is ComputeRefusalKind.NO_ZONE:
            return zone != own_zone(spec)
        return refused.kind in (*LEFT_NOTHING, ComputeRefusalKind.LACKING)

    def _zones(self, spec: CapacitySpec) -> tuple[str, ...]:
        """Return the zones to try, in turn: first the one that the order names, if it does."""
        own = own_zone(spec)
        order = (own, *self.options.zones) if own is not None else self.options.own_zones
        return tuple(dict.fromkeys(order))

    def _begin(self, directory: VmDirectory, zones: tuple[str, ...], order: InstanceOrder) -> InstanceRecord:
        """Make the instance in the last of these zones. Raises ComputeRefused if that zone has no room, and as `run`.

        The record is written first: if the launcher dies now, the next one finds the instance.
        """
        record = InstanceRecord(project=self.options.project, name=order.name, zones=zones)
        try:
            record.write(directory)
        except OSError as error:
            raise of_host(error, "The machine's directory cannot be written") from error
        try:
            self._insert(zones[-1], order)
        except ComputeUnreachable as error:
            of_zone = error.answered and zones[-1] not in self.options.own_zones
            concerns = Concerns.ORDER if of_zone else None
            raise LaunchFailed(f"Compute Engine does not answer: {error}", concerns=concerns) from error
        return record

    def _insert(self, zone: str, order: InstanceOrder) -> None:
        """Return once the instance exists. Raises ComputeRefused, ComputeUnreachable (there is none), and OSError."""
        try:
            operation = self.compute.insert(zone, self._resource(zone, order), request_id(order.hold, zone))
            self._await(zone, operation)
        except ComputeUnreachable:
            self._make_sure_of_none(zone, order.name)
            raise
        except ComputeRefused as refused:
            if refused.taken and self._is_there(zone, order.name):
                return
            if refused.begun:
                self._make_sure_of_none(zone, order.name)
            raise

    def _resource(self, zone: str, order: InstanceOrder) -> Resource:
        labelled = labels(self.options, order.hold, order.spec)
        return build(self.options, zone, order.name, labelled, order.spec.node_size, order.config)

    def _await(self, zone: str, operation: str) -> None:
        """Wait until the operation is done. Raises ComputeRefused, ComputeUnreachable."""
        deadline = time.monotonic() + INSERT_SECONDS
        while not self.compute.await_operation(zone, operation):
            if time.monotonic() > deadline:
                raise ComputeUnreachable(f"the instance was not there within {INSERT_SECONDS:g} s", answered=True)

    def _is_there(self, zone: str, name: str) -> bool:
        """Return whether an earlier request of this launcher's took the name. Raises OSError."""
        try:
            return self.compute.find(zone, name) is not None
        except ComputeError as error:
            raise _unknown(name) from error

    def _make_sure_of_none(self, zone: str, name: str) -> None:
        """Delete an instance that may have been made without an answer. Raises OSError."""
        try:
            self.compute.delete(zone, name)
        except ComputeError as error:
            raise _unknown(name) from error


def own_zone(spec: CapacitySpec) -> str | None:
    """Return the zone that an order names; None if any will do."""
    zone = spec.datacenter.partition(":")[2]
    return None if zone == ANY_ZONE else zone


def require_zone(spec: CapacitySpec) -> None:
    """Raise LaunchFailed if the zone that an order names cannot be one: Compute Engine need not be asked."""
    zone = own_zone(spec)
    if zone is not None and not re.fullmatch(ZONE_PATTERN, zone):
        message = f"The order's zone is not a zone's name: {zone}"
        raise LaunchFailed(
            message, *OF_KIND[ComputeRefusalKind.NO_ZONE], explanation=EXPLAINED[ComputeRefusalKind.NO_ZONE]
        )


def _unknown(name: str) -> OSError:
    return OSError(errno.EIO, f"It is unknown whether the instance {name} runs")
