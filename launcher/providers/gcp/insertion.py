"""How an order's instance comes to be: written down, asked for zone by zone, and waited for."""

import errno
import time
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict

from launcher.machines.directory import VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.port import LaunchFailed
from launcher.machines.records import write_durably
from launcher.providers.gcp.compute import Compute
from launcher.providers.gcp.errors import ComputeError, Kind, NoAnswer, Refused, launch_failed
from launcher.providers.gcp.instance import Resource, build
from launcher.providers.gcp.names import labels, request_id
from launcher.providers.gcp.options import GcpOptions
from shared.domain.spec import CapacitySpec
from shared.wire.launchers import Hold

ANY_ZONE: Final = "default"
"""The zone of a datacenter that names none."""
USUAL_ZONE: Final = "us-central1-a"
RECORD: Final = "instance.json"
INSERT_SECONDS: Final = 300.0
"""How long an instance may take to be made, or to be refused."""

log = structlog.get_logger()


class InstanceRecord(BaseModel):
    """`zones` are those in which it was asked for, the last one last."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project: str
    name: str
    zones: tuple[str, ...]

    def write(self, directory: VmDirectory) -> None:
        """Raises OSError."""
        write_durably(directory.path / RECORD, self.model_dump_json(indent=2).encode())


def read_record(directory: VmDirectory) -> InstanceRecord | None:
    """Return the record; None where no instance was ever asked for. Raises OSError, ValidationError."""
    try:
        return InstanceRecord.model_validate_json((directory.path / RECORD).read_bytes())
    except FileNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Wanted:
    """`config` is the document in which its worker finds its order."""

    hold: Hold
    spec: CapacitySpec
    name: str
    config: str


@dataclass(frozen=True, slots=True)
class Insertion:
    options: GcpOptions
    compute: Compute

    def run(self, directory: VmDirectory, wanted: Wanted) -> InstanceRecord:
        """Have the instance made in the first zone that has room, and return where that was.

        Raises LaunchFailed: then there is none; and OSError where that cannot be told.
        """
        zones, names_zone = self._zones(wanted.spec), own_zone(wanted.spec) is not None
        refusals: list[Refused] = []
        for tried, zone in enumerate(zones, 1):
            try:
                return self._begin(directory, zones[:tried], wanted)
            except Refused as refused:
                refusals.append(refused)
                if not self._passes_over(zone, refused, wanted.spec):
                    raise launch_failed([refused], names_zone) from refused
                log.warning("a zone has no such machine", zone=zone, error=str(refused))
        raise launch_failed(refusals, names_zone) from refusals[-1]

    def _passes_over(self, zone: str, refused: Refused, spec: CapacitySpec) -> bool:
        """Return whether another zone may do better. An order that names a zone that there is not names no other."""
        if refused.kind is Kind.NO_ZONE:
            return zone != own_zone(spec)
        return refused.kind in (Kind.EXHAUSTED, Kind.LACKING)

    def _zones(self, spec: CapacitySpec) -> tuple[str, ...]:
        """Return where to try, in turn: the order's own zone first, where it names one."""
        own = own_zone(spec)
        wanted = (own, *self.options.zones) if own is not None else self.options.zones or (USUAL_ZONE,)
        return tuple(dict.fromkeys(wanted))

    def _begin(self, directory: VmDirectory, zones: tuple[str, ...], wanted: Wanted) -> InstanceRecord:
        """Have the instance made in the last of these zones. Raises Refused where that one has no room, and as `run`.

        Its record is written first: a launcher that dies now is to find it again.
        """
        record = InstanceRecord(project=self.options.project, name=wanted.name, zones=zones)
        try:
            record.write(directory)
        except OSError as error:
            raise of_host(error, "The machine's directory cannot be written") from error
        try:
            self._insert(zones[-1], wanted)
        except NoAnswer as error:
            raise LaunchFailed(f"Compute Engine does not answer: {error}") from error
        return record

    def _insert(self, zone: str, wanted: Wanted) -> None:
        """Return once the instance is there. Raises Refused, NoAnswer: then there is none; and OSError."""
        try:
            operation = self.compute.insert(zone, self._resource(zone, wanted), request_id(wanted.hold, zone))
            self._await(zone, operation)
        except NoAnswer:
            self._make_sure_of_none(zone, wanted.name)
            raise
        except Refused as refused:
            if refused.taken and self._is_there(zone, wanted.name):
                return
            if refused.begun:
                self._make_sure_of_none(zone, wanted.name)
            raise

    def _resource(self, zone: str, wanted: Wanted) -> Resource:
        labelled = labels(self.options, wanted.hold, wanted.spec)
        return build(self.options, zone, wanted.name, labelled, wanted.spec.node_size, wanted.config)

    def _await(self, zone: str, operation: str) -> None:
        """Raises Refused, NoAnswer."""
        deadline = time.monotonic() + INSERT_SECONDS
        while not self.compute.await_operation(zone, operation):
            if time.monotonic() > deadline:
                raise NoAnswer(f"the instance was not there within {INSERT_SECONDS:g} s")

    def _is_there(self, zone: str, name: str) -> bool:
        """Return whether an earlier request of ours took the name, for nobody else would. Raises OSError."""
        try:
            return self.compute.find(zone, name) is not None
        except ComputeError as error:
            raise _unknown(name) from error

    def _make_sure_of_none(self, zone: str, name: str) -> None:
        """Delete what may have been made, although nobody said so. Raises OSError."""
        try:
            self.compute.delete(zone, name)
        except ComputeError as error:
            raise _unknown(name) from error


def own_zone(spec: CapacitySpec) -> str | None:
    """Return the zone that an order names; None if any will do."""
    zone = spec.datacenter.partition(":")[2]
    return None if zone == ANY_ZONE else zone


def _unknown(name: str) -> OSError:
    return OSError(errno.EIO, f"It cannot be told whether the instance {name} runs")
