"""The provider `gcp`: machines are instances of Compute Engine, found again by their names and labels."""

import errno
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from launcher.machines.directory import VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.port import LaunchFailed, MachinePlan, MachineState
from launcher.machines.remote.fleet import Fleet
from launcher.machines.remote.marks import machine_name
from launcher.machines.remote.strays import CurrentHolds, Strays
from launcher.machines.remote.watch import Watch
from launcher.machines.resources import Resources
from launcher.providers.gcp.compute import Compute, FoundInstance
from launcher.providers.gcp.errors import ComputeError
from launcher.providers.gcp.insertion import Insertion, InstanceOrder, InstanceRecord, read_record, require_zone
from launcher.providers.gcp.machine import GcpMachine
from launcher.providers.gcp.options import GcpOptions
from shared.domain.spec import AnySpec, CapacitySpec
from shared.guest.config import WorkerConfig
from shared.log_events import LogEvent
from shared.wire.launchers import Hold

NAME: Final = "gcp"
MODE: Final = "tdx"
DISK_MIB: Final = 1
"""The disk space on this host for an instance's records."""

log = structlog.get_logger()


class GcpProvider:
    """Makes instances. Each takes only a slot and some disk space of this host."""

    name = NAME
    loopback_gateway: str | None = None
    proxy: str | None = None
    starting_limit: int | None = None

    def __init__(self, options: GcpOptions) -> None:
        """Raises ComputeRefused if this host has no credentials."""
        self._options = options
        self._compute = Compute(options.project, options.endpoint)
        self._insertion = Insertion(options, self._compute)
        self._fleet = fleet_of(options, self._compute, time.monotonic)
        self._watch = Watch(self._fleet, options.check_seconds)
        self._strays = strays_of(options, self._compute, self._fleet)

    def resources(self, spec: AnySpec, /) -> Resources:  # noqa: ARG002 (every size needs the same on this host)
        return Resources(machines=1, disk_mib=DISK_MIB)

    def plan(self, hold: Hold, uuid: str, config: WorkerConfig, /) -> MachinePlan:  # noqa: ARG002 (it has a name of its own)
        require_zone(_capacity(config))
        return MachinePlan(argv=(), mode=MODE, vm=machine_name(self._options.name_prefix, hold))

    def start(self, directory: VmDirectory) -> GcpMachine:
        """Raises OSError, too, if it is unknown whether anything runs: then the directory must stay."""
        order = _order(directory)
        self._strays.begin(order.hold)
        started = False
        try:
            machine = self._machine(self._insertion.run(directory, order), order.hold)
            started = True
        finally:
            if not started:
                self._strays.end(order.hold)
        return machine

    def state_of(self, directory: VmDirectory) -> MachineState:
        """Return the state. An instance that cannot be looked up now counts as running, and is watched."""
        written = read_record(directory)
        if written is None:
            return MachineState.NEVER_RAN
        if written.project != self._options.project:
            raise OSError(errno.ENXIO, f"The instance is of the project {written.project}")
        try:
            found = self._fleet.recent().get(written.name) or self._compute.find_in(written.zones, written.name)
        except ComputeError as error:
            log.warning(
                LogEvent.INSTANCE_UNKNOWN,
                message="It is unknown whether the instance exists: it counts as running.",
                name=written.name,
                error=str(error),
            )
            return MachineState.RUNS
        return MachineState.ENDED if found is None else MachineState.RUNS

    def adopt(self, directory: VmDirectory) -> GcpMachine | None:
        written = read_record(directory)
        if written is None:
            return None
        self._strays.begin(directory.manifest.hold)
        return self._machine(written, directory.manifest.hold)

    def delete_strays(self, held: CurrentHolds, until: threading.Event) -> None:
        self._strays.watch(held, until)

    def _machine(self, written: InstanceRecord, hold: Hold) -> GcpMachine:
        """Return the instance as a machine. Raises OSError if this host has no descriptor left."""
        return GcpMachine(written, self._compute, self._watch, lambda: self._strays.end(hold))


def fleet_of(options: GcpOptions, compute: Compute, monotonic: Callable[[], float]) -> Fleet[FoundInstance]:
    return Fleet(lambda: compute.labelled(options.owner.listed_by), monotonic)


def strays_of(options: GcpOptions, compute: Compute, fleet: Fleet[FoundInstance]) -> Strays[FoundInstance]:
    return Strays(options.owner, fleet, lambda found: compute.delete(found.zone, found.name), options.check_seconds)


def _order(directory: VmDirectory) -> InstanceOrder:
    """Return the instance to make for a machine's directory. Raises LaunchFailed."""
    try:
        config = WorkerConfig.model_validate_json(directory.config.read_bytes())
    except OSError as error:
        raise of_host(error, "The machine's directory cannot be read") from error
    return InstanceOrder(directory.manifest.hold, _capacity(config), directory.manifest.vm, config.canonical().decode())


def _capacity(config: WorkerConfig) -> CapacitySpec:
    """Return the capacity order's spec. Raises LaunchFailed."""
    if not isinstance(config.spec, CapacitySpec):
        raise LaunchFailed(f"Compute Engine is for capacity; this order is of the kind {config.spec.kind}.")
    return config.spec
