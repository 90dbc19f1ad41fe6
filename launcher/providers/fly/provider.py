"""The provider `fly`: machines are Fly's, found again by their names and metadata."""

import errno
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from launcher.machines.directory import VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.port import Concerns, LaunchFailed, MachinePlan, MachineState
from launcher.machines.remote.fleet import Fleet
from launcher.machines.remote.marks import machine_name
from launcher.machines.remote.strays import CurrentHolds, Strays
from launcher.machines.remote.watch import Watch
from launcher.machines.resources import Resources
from launcher.providers.fly.body import Body, build
from launcher.providers.fly.creation import Creation, MachineRecord, read_record
from launcher.providers.fly.errors import FlyError, FlyRefused, FlyUnreachable, launch_failed
from launcher.providers.fly.machine import FlyMachine, MachineTarget
from launcher.providers.fly.machines_api import FoundMachine, MachinesApi, system_pacers
from launcher.providers.fly.options import FlyOptions
from launcher.providers.fly.pacing import Pacers
from shared.client_errors import ControlPlaneError, Refused
from shared.crash_points import Point, reach
from shared.domain.spec import AnySpec, ExportSpec, TaskSpec
from shared.guest.config import WorkerConfig
from shared.log_events import LogEvent
from shared.wire.launchers import EnvironmentAnswer, Hold

NAME: Final = "fly"
PREFIX: Final = "launchyard"
DISK_MIB: Final = 1
"""The disk space on this host for a machine's records."""
STARTING_LIMIT: Final = 2
"""As many machines as Fly's limit lets start at once; the next start a second later."""
CONFIG_VARIABLE: Final = "LAUNCHYARD_WORKER_CONFIG"
"""The variable in which our own worker finds its configuration. Whoever may read the machine may read it, as with every
channel into a guest; it holds no secret but the callback's token."""

Environments = Callable[[Hold], EnvironmentAnswer]
"""Asks the control plane what a foreign image's worker of this hold is to be told. Raises ControlPlaneError."""

log = structlog.get_logger()


class FlyProvider:
    """Makes machines. Each takes only a slot and some disk space of this host."""

    name = NAME
    loopback_gateway: str | None = None
    proxy: str | None = None
    starting_limit: int | None = STARTING_LIMIT

    def __init__(
        self,
        options: FlyOptions,
        environments: Environments,
        pacers: Pacers | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises SettingsWrong if the environment's proxy cannot be used."""
        self._options, self._environments = options, environments
        self._api = MachinesApi(options.endpoint, options.app, options.token, pacers or system_pacers())
        self._creation = Creation(self._api, sleep)
        self._fleet = Fleet(lambda: self._api.marked(options.owner.listed_by), time.monotonic)
        self._watch = Watch(self._fleet, options.check_seconds)
        self._strays = Strays(options.owner, self._fleet, self._end_stray, options.check_seconds)

    def resources(self, spec: AnySpec, /) -> Resources:  # noqa: ARG002 (every order needs the same on this host)
        return Resources(machines=1, disk_mib=DISK_MIB)

    def plan(self, hold: Hold, uuid: str, config: WorkerConfig, /) -> MachinePlan:  # noqa: ARG002 (it has a name of its own)
        _work(config)
        return MachinePlan(argv=(), vm=machine_name(PREFIX, hold))

    def start(self, directory: VmDirectory) -> FlyMachine:
        """Raises OSError, too, if it is unknown whether anything runs: then the directory must stay."""
        config, hold = _config(directory), directory.manifest.hold
        body = self._body(directory, config)
        self._strays.begin(hold)
        started = False
        try:
            found = self._created(directory, config, body)
            machine = self._machine(directory, config, found.id)
            started = True
        finally:
            if not started:
                self._strays.end(hold)
        return machine

    def state_of(self, directory: VmDirectory) -> MachineState:
        """Return the state. A machine that has ended is adopted, too, for its exit code, while Fly still knows it."""
        written = read_record(directory)
        if written is None:
            return MachineState.NEVER_RAN
        if written.app != self._options.app:
            raise OSError(errno.ENXIO, f"The machine is of the app {written.app}")
        try:
            found = self._fleet.recent().get(written.name)
            if found is None and written.id is not None:
                found = self._api.get(written.id)
        except FlyError as error:
            log.warning(
                LogEvent.INSTANCE_UNKNOWN,
                message="It is unknown whether the machine exists: it counts as running.",
                name=written.name,
                error=str(error),
            )
            return MachineState.RUNS
        return MachineState.ENDED if found is None else MachineState.RUNS

    def adopt(self, directory: VmDirectory) -> FlyMachine | None:
        written = read_record(directory)
        if written is None:
            return None
        self._strays.begin(directory.manifest.hold)
        return self._machine(directory, WorkerConfig.model_validate_json(directory.config.read_bytes()), written.id)

    def delete_strays(self, held: CurrentHolds, until: threading.Event) -> None:
        self._strays.watch(held, until)

    def _created(self, directory: VmDirectory, config: WorkerConfig, body: Body) -> FoundMachine:
        """Make the machine. The record is written first: if the launcher dies now, the next one finds the machine."""
        record = MachineRecord(app=self._options.app, name=directory.manifest.vm)
        record.write(directory)
        reach(Point.LAUNCHER_NAMED)
        spec = _work(config)
        try:
            found = self._creation.run(body, self._options.owner.marks(directory.manifest.hold))
        except FlyRefused as refused:
            raise launch_failed(refused, spec.image is not None, spec.region is not None) from refused
        except FlyUnreachable as error:  # a create also waits for the image, which its registry may send slowly
            concerns = None if spec.image is None else Concerns.ORDER
            raise LaunchFailed(str(error), concerns=concerns) from error
        reach(Point.LAUNCHER_CREATED)
        record.model_copy(update={"id": found.id}).write(directory)
        return found

    def _body(self, directory: VmDirectory, config: WorkerConfig) -> Body:
        """Raises LaunchFailed."""
        spec, hold, image = _work(config), directory.manifest.hold, self._options.image_of(config.spec)
        environment = self._own(config) if self._options.is_own(image) else self._foreign(hold)
        return build(
            name=directory.manifest.vm,
            region=self._options.region_of(spec),
            image=image,
            guest=self._options.sizes[spec.kind],
            marks=self._options.owner.marks(hold),
            variables=environment.variables,
            arguments=environment.arguments,
        )

    def _own(self, config: WorkerConfig) -> EnvironmentAnswer:
        return EnvironmentAnswer(variables={CONFIG_VARIABLE: config.canonical().decode()}, arguments=())

    def _foreign(self, hold: Hold) -> EnvironmentAnswer:
        """Raises LaunchFailed."""
        try:
            return self._environments(hold)
        except ControlPlaneError as error:
            message = f"The control plane does not say what the machine's worker needs: {error}"
            concerns = Concerns.ORDER if isinstance(error, Refused) else None
            raise LaunchFailed(message, concerns=concerns) from error

    def _machine(self, directory: VmDirectory, config: WorkerConfig, machine_id: str | None) -> FlyMachine:
        """Return the machine. Raises OSError if this host has no descriptor left."""
        hold, foreign = directory.manifest.hold, not self._options.is_own(self._options.image_of(config.spec))
        target = MachineTarget(
            name=directory.manifest.vm,
            marks=self._options.owner.marks(hold),
            id=machine_id,
            foreign=foreign,
            silent=foreign and isinstance(config.spec, ExportSpec),  # a task's worker reports that it has started
        )
        return FlyMachine(target, self._api, self._watch, lambda: self._strays.end(hold))

    def _end_stray(self, found: FoundMachine) -> None:
        """Raises FlyError."""
        if not found.ended:
            self._api.stop(found.id)
        self._api.destroy(found.id)


def _config(directory: VmDirectory) -> WorkerConfig:
    """Return the configuration of a machine's worker. Raises LaunchFailed."""
    try:
        return WorkerConfig.model_validate_json(directory.config.read_bytes())
    except OSError as error:
        raise of_host(error, "The machine's directory cannot be read") from error


def _work(config: WorkerConfig) -> ExportSpec | TaskSpec:
    """Return the spec of an export or a task. Raises LaunchFailed."""
    if not isinstance(config.spec, ExportSpec | TaskSpec):
        raise LaunchFailed(f"Fly is for exports and tasks; this order is of the kind {config.spec.kind}.")
    return config.spec
