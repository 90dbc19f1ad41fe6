"""The provider `gcp`: asks Compute Engine for instances, zone by zone, and knows its own again by name and label."""

import errno
import time
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

import structlog

from launcher.vm.directory import VmDirectory
from launcher.vm.failures import of_host
from launcher.vm.gcp import record
from launcher.vm.gcp.compute import Compute
from launcher.vm.gcp.errors import ComputeError, NoAnswer, Refused, launch_failed
from launcher.vm.gcp.fleet import Fleet
from launcher.vm.gcp.instance import build
from launcher.vm.gcp.machine import GcpMachine
from launcher.vm.gcp.names import instance_name, labels, of_hold, of_launcher, request_id
from launcher.vm.gcp.options import GcpOptions
from launcher.vm.gcp.record import InstanceRecord
from launcher.vm.gcp.watch import Watch
from launcher.vm.provider import LaunchFailed, Plan
from launcher.vm.recognition import Trace
from launcher.vm.resources import Resources
from shared.api import Hold
from shared.domain.spec import AnySpec, CapacitySpec
from shared.vm_config import WorkerConfig

NAME: Final = "gcp"
MODE: Final = "tdx"
DISK_MIB: Final = 1
"""Of this host: what is written down of an instance."""
ANY_ZONE: Final = "default"
"""The zone of a datacenter that names none."""
USUAL_ZONE: Final = "us-central1-a"
INSERT_SECONDS: Final = 300.0
"""How long an instance may take to be made, or to be refused."""

log = structlog.get_logger()


class GcpProvider:
    """Its machines take nothing of this host but a slot."""

    name = NAME
    loopback_gateway: str | None = None

    def __init__(self, options: GcpOptions) -> None:
        """Raises Refused where this host has no credentials."""
        self._options = options
        self._compute = Compute(options.project, options.endpoint)
        self._fleet = Fleet(self._compute, of_launcher(options.launcher), time.monotonic)
        self._watch = Watch(self._fleet, options.look_seconds)
        self._begun: set[Hold] = set()
        """What was started by this daemon: never a stray, whatever a list of holds says that is a moment old."""

    def resources(self, spec: AnySpec, /) -> Resources:  # noqa: ARG002 (every size takes the same of this host)
        return Resources(machines=1, disk_mib=DISK_MIB)

    def plan(self, hold: Hold, uuid: str, config: WorkerConfig, /) -> Plan:  # noqa: ARG002 (it has a name of its own)
        _capacity(config)
        return Plan(argv=(), mode=MODE, vm=instance_name(self._options.name_prefix, hold))

    def start(self, directory: VmDirectory) -> GcpMachine:
        """Raises OSError, too, where it cannot be told whether something runs: then the directory must stay."""
        hold = _hold(directory)
        self._begun.add(hold)
        try:
            return GcpMachine(self._begin_somewhere(directory), self._compute, self._watch)
        except (LaunchFailed, OSError):
            self._begun.discard(hold)
            raise

    def trace(self, directory: VmDirectory) -> Trace:
        """One of which nobody can tell now is taken to run: it is adopted, and watched until somebody can."""
        written = record.read(directory)
        if written is None:
            return Trace.NEVER_RAN
        try:
            found = self._fleet.recent().get(written.name) or self._fleet.find(written.name, written.zones)
        except ComputeError as error:
            log.warning("an instance cannot be looked for", name=written.name, error=str(error))
            return Trace.RUNS
        return Trace.ENDED if found is None else Trace.RUNS

    def adopt(self, directory: VmDirectory) -> GcpMachine | None:
        written = record.read(directory)
        if written is None:
            return None
        self._begun.add(_hold(directory))
        return GcpMachine(written, self._compute, self._watch)

    def reap_strays(self, held: Collection[Hold]) -> None:
        """Raises LaunchFailed where they cannot be looked for, or not be deleted."""
        known = [of_hold(hold).items() for hold in {*held, *self._begun}]
        try:
            for found in self._fleet.look().values():
                if not any(labels <= found.labels.items() for labels in known):
                    log.warning("an instance that no order explains is deleted", name=found.name, zone=found.zone)
                    self._compute.delete(found.zone, found.name)
        except ComputeError as error:
            raise LaunchFailed(f"Compute Engine cannot be asked for instances of no order: {error}") from error

    def _zones(self, spec: CapacitySpec) -> tuple[str, ...]:
        """Return where to try, in turn: the order's own zone first, where it names one."""
        own = spec.datacenter.partition(":")[2]
        wanted = (own, *self._options.zones) if own != ANY_ZONE else self._options.zones or (USUAL_ZONE,)
        return tuple(dict.fromkeys(wanted))

    def _begin_somewhere(self, directory: VmDirectory) -> InstanceRecord:
        """Raises LaunchFailed, OSError as `start` does."""
        config = _configuration(directory)
        zones, refusals = self._zones(_capacity(config)), []
        for tried in range(1, len(zones) + 1):
            try:
                return self._begin(directory, zones[:tried], config)
            except Refused as refused:
                if not refused.none_left:
                    raise launch_failed(refused) from refused
                log.warning("a zone has no machine left", zone=zones[tried - 1], error=str(refused))
                refusals.append(refused)
        raise launch_failed(refusals[-1]) from refusals[-1]

    def _begin(self, directory: VmDirectory, zones: tuple[str, ...], config: WorkerConfig) -> InstanceRecord:
        """Have the instance made in the last of these zones, and return its record, which is written first.

        Raises Refused where there is none then, LaunchFailed, and OSError where that cannot be told.
        """
        hold, spec, zone = _hold(directory), _capacity(config), zones[-1]
        written = InstanceRecord(project=self._options.project, name=directory.manifest.vm, zones=zones)
        try:
            written.write(directory)
        except OSError as error:
            raise of_host(error, "The machine's directory cannot be written") from error
        labelled = labels(self._options, hold, spec)
        document = config.canonical().decode()
        resource = build(self._options, zone, written.name, labelled, spec.node_size, document)
        try:
            operation = self._compute.insert(zone, resource, request_id(hold, zone))
            self._await(zone, operation)
        except Refused as refused:
            if not (refused.status == HTTPStatus.CONFLICT and self._is_there(zone, written.name)):
                raise
        except NoAnswer as error:
            self._make_sure_of_nothing(zone, written.name)
            raise LaunchFailed(f"Compute Engine does not answer: {error}") from error
        return written

    def _await(self, zone: str, operation: str) -> None:
        """Raises Refused, NoAnswer."""
        deadline = time.monotonic() + INSERT_SECONDS
        while not self._compute.await_operation(zone, operation):
            if time.monotonic() > deadline:
                raise NoAnswer(f"the instance was not there within {INSERT_SECONDS:g} s")

    def _is_there(self, zone: str, name: str) -> bool:
        """Whether it is by an earlier request of ours that the name is taken, for no other has it.

        Raises OSError where that cannot be told."""
        try:
            return self._compute.find(zone, name) is not None
        except ComputeError as error:
            raise OSError(errno.EIO, f"It cannot be told whether the instance {name} runs") from error

    def _make_sure_of_nothing(self, zone: str, name: str) -> None:
        """Delete what may have been made, although nobody said so. Raises OSError."""
        try:
            self._compute.delete(zone, name)
        except ComputeError as error:
            raise OSError(errno.EIO, f"It cannot be told whether the instance {name} runs") from error


def _hold(directory: VmDirectory) -> Hold:
    return Hold(order_id=directory.manifest.order_id, epoch=directory.manifest.epoch)


def _configuration(directory: VmDirectory) -> WorkerConfig:
    """Raises LaunchFailed."""
    try:
        return WorkerConfig.model_validate_json(directory.config.read_bytes())
    except OSError as error:
        raise of_host(error, "The machine's directory cannot be read") from error


def _capacity(config: WorkerConfig) -> CapacitySpec:
    """Raises LaunchFailed."""
    if not isinstance(config.spec, CapacitySpec):
        raise LaunchFailed(f"Compute Engine is for capacity; this order is of the kind {config.spec.kind}.")
    return config.spec
