"""One order's run: plan, directory, machine, end; and what is told of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn
from uuid import uuid4

import structlog

from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.failures import of_host
from launcher.machines.port import LaunchFailed, Machine, Provider
from launcher.machines.records import VmManifest
from launcher.orders.assignment import Held, LeftRunning, Wish
from launcher.orders.endings import Ending, Endings
from launcher.orders.reports import Reports, Verdict
from launcher.providers.registry import Providers
from shared.crash_points import Point, reach
from shared.domain.order import Failure, Reason
from shared.guest.config import Sources, WorkerConfig
from shared.guest.image import ImageRejected
from shared.wire.launchers import AttemptFailed, Claimed

HOSTS_FAULT: Final = frozenset(
    {
        Reason.DISK_FULL,
        Reason.HYPERVISOR_MISSING,
        Reason.IMAGE_MISSING,
        Reason.IMAGE_REJECTED,
        Reason.LAUNCH_FAILED,
        Reason.NO_CAPACITY,
        Reason.PORT_TAKEN,
    }
)
"""What the next order would meet here, too, and perhaps not elsewhere: unless the failure is permanent, for then it is
the order's own, and any host would meet it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Runner:
    """`control_plane` is the URL that the machine's worker calls back; `rest` has no order of a provider's taken for a
    while; `authorities` are the certificate authorities, as PEM, that machines are to trust beside the public ones."""

    launcher: str
    control_plane: str
    sources: Sources
    state: Path
    providers: Providers
    reports: Reports
    rest: Callable[[str], None]
    authorities: str | None = None

    @property
    def endings(self) -> Endings:
        return Endings(self.launcher)

    def run(self, held: Held, claimed: Claimed) -> None:
        """Run the order to its end. When this returns, nothing of its machine is left, or it runs on without us."""
        try:
            provider = self.providers.of(claimed.spec)
        except LookupError as error:  # another launcher of this name may have such a provider
            log.error("an order cannot be run here", **held.hold.model_dump(), error=str(error))
            self.reports.send(held, self.endings.returned(held.hold.epoch, str(error)), unless=held.hurried)
            return
        try:
            ending = self._attempt(held, claimed, provider)
        except LeftRunning:
            return
        self.tell(held, ending, provider.name)

    def resume(self, held: Held, machine_directory: VmDirectory, machine: Machine) -> None:
        """Go on with the machine that an earlier daemon started, to its end."""
        try:
            ending = self._keep_in(machine_directory, machine, held)
        except LeftRunning:
            return
        except OSError as error:
            ending = self.endings.launch_failed(held, of_host(error, "This host fails"))
        self.tell(held, ending, machine_directory.manifest.provider)

    def tell(self, held: Held, ending: Ending | None, provider: str) -> None:
        if isinstance(ending, AttemptFailed) and _hosts_fault(ending):
            self.rest(provider)  # first: another host is to have the order, before this one burns its attempts
        if ending is not None:
            self.reports.send(held, ending, unless=held.hurried)
            reach(Point.LAUNCHER_REPORTED)

    def _attempt(self, held: Held, claimed: Claimed, provider: Provider) -> Ending | None:
        """Return what to report, once the machine and its directory are gone; None where there is nothing to say."""
        if held.wish is not None:  # a claim under way while the launcher goes down may bring what it just returned
            return self.endings.farewell(held)
        try:
            held.open()
            machine_directory = self._prepare(held, claimed, provider)
        except ImageRejected as rejected:
            return self.endings.image_rejected(held, rejected)
        except LaunchFailed as failed:
            return self.endings.launch_failed(held, failed)
        except OSError as error:
            return self.endings.launch_failed(held, of_host(error, "This host fails"))
        try:
            return self._in_directory(machine_directory, held, provider)
        except OSError as error:  # its directory stays: the daemon's next start makes sure that nothing of it runs
            return self.endings.launch_failed(held, of_host(error, "This host fails"))

    def _prepare(self, held: Held, claimed: Claimed, provider: Provider) -> VmDirectory:
        uuid = str(uuid4())
        config = self._configuration(claimed, provider)
        plan = provider.plan(held.hold, uuid, config)
        manifest = VmManifest(
            **held.hold.model_dump(),
            vm=plan.vm or f"vm-{uuid}",
            uuid=uuid,
            provider=provider.name,
            mode=plan.mode,
            image_digest=plan.image_digest,
            argv=plan.argv,
            resources=provider.resources(claimed.spec),
        )
        try:
            created = directory.create(self.state, manifest, config.canonical(), held.lease)
        except OSError as error:
            raise of_host(error, "The machine's directory cannot be written") from error
        reach(Point.LAUNCHER_DIRECTORY)
        held.keep_lease_in(created)
        return created

    def _in_directory(self, machine_directory: VmDirectory, held: Held, provider: Provider) -> Ending | None:
        vm = machine_directory.manifest.vm
        verdict = self.reports.send(held, self.endings.provisioning(held, vm), unless=held.asked)
        reach(Point.LAUNCHER_PROVISIONING)
        if held.lease_left() <= 0:
            held.ask(Wish.LEASE_LOST)
        if verdict is not Verdict.TAKEN or held.wish is not None:
            discard(machine_directory, held)
            return None if verdict is Verdict.REFUSED else self.endings.farewell(held)
        try:
            machine = provider.start(machine_directory)
        except ImageRejected as rejected:
            discard(machine_directory, held)
            return self.endings.image_rejected(held, rejected)
        except LaunchFailed as failed:
            discard(machine_directory, held)
            return self.endings.launch_failed(held, failed)
        log.info("machine started", **held.hold.model_dump(), pid=machine.pid)
        reach(Point.LAUNCHER_STARTED)
        return self._keep_in(machine_directory, machine, held)

    def _keep_in(self, machine_directory: VmDirectory, machine: Machine, held: Held) -> Ending | None:
        ending = self._keep(machine_directory, machine, held)
        reach(Point.LAUNCHER_STOPPED)
        discard(machine_directory, held)
        return ending

    def _keep(self, machine_directory: VmDirectory, machine: Machine, held: Held) -> Ending | None:
        """Return what to report once the machine is gone. Raises LeftRunning where it is to run on."""
        left = False
        try:
            held.attach(machine)
            by_itself = held.watch(machine)
            left = held.wish is Wish.LEFT and not by_itself
        finally:
            code = None if left else _end(machine, held)
        if left:
            _leave(machine, held)
        log.info("machine gone", **held.hold.model_dump(), pid=machine.pid, exit_code=code, wish=held.wish)
        if by_itself and held.wish in (None, Wish.LEFT):
            return self.endings.machine_exited(held, code, machine_directory)
        return self.endings.farewell(held)

    def _configuration(self, claimed: Claimed, provider: Provider) -> WorkerConfig:
        return WorkerConfig(
            order_id=claimed.order_id,
            epoch=claimed.epoch,
            control_plane=self.control_plane,
            callback_token=claimed.callback_token,
            spec=claimed.spec,
            sources=self.sources,
            loopback_gateway=provider.loopback_gateway,
            authorities=self.authorities,
        )


def _hosts_fault(ending: AttemptFailed) -> bool:
    return ending.reason in HOSTS_FAULT and ending.failure is not Failure.PERMANENT


def _end(machine: Machine, held: Held) -> int | None:
    """Stop the machine, and return its exit code; it is gone even where stopping it fails."""
    try:
        machine.stop(held.patience)
    finally:
        held.attach(None)
        code = machine.reap()
    return code


def _leave(machine: Machine, held: Held) -> NoReturn:
    """Raises LeftRunning, always."""
    held.attach(None)
    machine.leave()
    log.info("machine left running, for the next daemon to adopt", **held.hold.model_dump(), pid=machine.pid)
    raise LeftRunning


def discard(machine_directory: VmDirectory, held: Held) -> None:
    """Remove the directory of a machine that is gone; where that fails, the next start of the daemon tries again."""
    held.keep_lease_in(None)
    try:
        machine_directory.remove()
    except OSError as error:
        log.error("a machine's directory cannot be removed", vm=machine_directory.manifest.vm, error=error.strerror)
    reach(Point.LAUNCHER_REMOVED)
