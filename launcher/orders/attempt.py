"""One attempt at an order: the plan, the directory, the machine, its end, and the reports."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from launcher.host.clock import SYSTEM
from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.explanations import NO_PROVIDER
from launcher.machines.failures import of_host
from launcher.machines.port import Concerns, LaunchFailed, Machine, Provider
from launcher.machines.records import VmManifest
from launcher.orders.assignment import Assignment, LeftRunning, StopReason
from launcher.orders.reports import Delivery, FinalReport, ReportBuilder, ReportSender, last_words
from launcher.providers.registry import Providers
from shared.crash_points import Point, reach
from shared.domain.lanes import lane, offered
from shared.domain.spec import SessionSpec
from shared.guest.config import Executor, Sources, WorkerConfig
from shared.guest.image import ImageRejected
from shared.log_events import LogEvent
from shared.wire.launchers import AttemptFailed, Claimed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AttemptRunner:
    """Makes attempts. `control_plane` is the URL that the machine's worker calls back. `rest` keeps a provider from
    taking orders for a while; if lanes are named, orders of these only. `authorities` are certificate authorities, as
    PEM, that machines trust beside the public ones. `executor` runs agents' sessions. `pause` waits some seconds, or
    until the event is set."""

    launcher: str
    control_plane: str
    sources: Sources
    state: Path
    providers: Providers
    reports: ReportSender
    rest: Callable[[str, Collection[str]], None]
    authorities: str | None = None
    executor: Executor | None = None
    pause: Callable[[float, threading.Event], None] = SYSTEM.pause

    @property
    def builder(self) -> ReportBuilder:
        return ReportBuilder(self.launcher)

    def run(self, assignment: Assignment, claimed: Claimed) -> None:
        """Make one attempt. When this returns, the machine and its directory are gone, or it was left running."""
        try:
            provider = self.providers.of(claimed.spec)
        except LookupError as error:  # another launcher of this name may have this provider
            log.error(
                LogEvent.ORDER_NOT_SUPPORTED,
                message="No provider of this launcher makes machines for this order: it is returned.",
                **assignment.hold.model_dump(),
                error=str(error),
            )
            self.reports.send(
                assignment, self.builder.returned(assignment.hold.epoch, NO_PROVIDER), unless=assignment.hurried
            )
            return
        try:
            report = self._attempt(assignment, claimed, provider)
        except LeftRunning:
            return
        self.report(assignment, report, provider.name, offered(lane(claimed.spec)))

    def resume(self, assignment: Assignment, machine_directory: VmDirectory, machine: Machine) -> None:
        """Watch the machine that an earlier daemon started, to its end."""
        try:
            report = self._watch_and_discard(machine_directory, machine, assignment)
        except LeftRunning:
            return
        except OSError as error:
            report = self._launch_failed(assignment, of_host(error, "This host fails"))
        self.report(assignment, report, machine_directory.manifest.provider)

    def report(
        self, assignment: Assignment, report: FinalReport | None, provider: str, lanes: Collection[str] = ()
    ) -> None:
        """Send the report. First, what the failure concerns takes no order for a while, so that another host gets this
        one before it has used up its attempts here. An order whose own demands failed keeps no other from starting.
        """
        if assignment.concerned is Concerns.PROVIDER:
            self.rest(provider, ())
        elif assignment.concerned is Concerns.LANE:
            self.rest(provider, lanes)
        if report is not None:
            self.reports.send(assignment, report, unless=assignment.hurried)
            reach(Point.LAUNCHER_REPORTED)

    def _attempt(self, assignment: Assignment, claimed: Claimed, provider: Provider) -> FinalReport | None:
        """Return the report to send once the machine and its directory are gone; None if there is none."""
        if assignment.interrupted.is_set():
            # During a shutdown, a claim may bring back an order that the launcher has just returned.
            return self.builder.interrupted(assignment)
        try:
            assignment.open()
            machine_directory = self._prepare(assignment, claimed, provider)
        except ImageRejected as rejected:
            return self._image_rejected(assignment, rejected)
        except LaunchFailed as failed:
            return self._launch_failed(assignment, failed)
        except OSError as error:
            return self._launch_failed(assignment, of_host(error, "This host fails"))
        try:
            return self._in_directory(machine_directory, assignment, provider)
        except OSError as error:  # the directory stays: the next daemon ends processes that still run
            return self._launch_failed(assignment, of_host(error, "This host fails"))

    def _prepare(self, assignment: Assignment, claimed: Claimed, provider: Provider) -> VmDirectory:
        uuid = str(uuid4())
        config = self._configuration(claimed, provider)
        plan = provider.plan(assignment.hold, uuid, config)
        manifest = VmManifest(
            **assignment.hold.model_dump(),
            vm=plan.vm or f"vm-{uuid}",
            uuid=uuid,
            provider=provider.name,
            mode=plan.mode,
            image_digest=plan.image_digest,
            argv=plan.argv,
            resources=provider.resources(claimed.spec),
        )
        try:
            created = directory.create(self.state, manifest, config.canonical(), assignment.lease)
        except OSError as error:
            raise of_host(error, "The machine's directory cannot be written") from error
        reach(Point.LAUNCHER_DIRECTORY)
        assignment.record_lease_in(created)
        return created

    def _in_directory(
        self, machine_directory: VmDirectory, assignment: Assignment, provider: Provider
    ) -> FinalReport | None:
        vm = machine_directory.manifest.vm
        delivery = self.reports.send(
            assignment, self.builder.provisioning(assignment, vm), unless=assignment.interrupted
        )
        reach(Point.LAUNCHER_PROVISIONING)
        if assignment.lease_left() <= 0:
            assignment.stop(StopReason.LEASE_LOST)
        if delivery is not Delivery.ACCEPTED or assignment.interrupted.is_set():
            discard(machine_directory, assignment)
            return None if delivery is Delivery.REFUSED else self.builder.interrupted(assignment)
        try:
            machine = provider.start(machine_directory)
        except ImageRejected as rejected:
            discard(machine_directory, assignment)
            return self._image_rejected(assignment, rejected)
        except LaunchFailed as failed:
            discard(machine_directory, assignment)
            return self._launch_failed(assignment, failed)
        log.info(
            LogEvent.MACHINE_STARTED,
            message="The machine runs.",
            **assignment.hold.model_dump(),
            pid=machine.pid,
        )
        assignment.note_started()
        reach(Point.LAUNCHER_STARTED)
        return self._watch_and_discard(machine_directory, machine, assignment)

    def _launch_failed(self, assignment: Assignment, failed: LaunchFailed) -> AttemptFailed:
        assignment.concerned = failed.concerns
        return self.builder.launch_failed(assignment, failed)

    def _image_rejected(self, assignment: Assignment, rejected: ImageRejected) -> AttemptFailed:
        assignment.concerned = Concerns.PROVIDER
        return self.builder.image_rejected(assignment, rejected)

    def _watch_and_discard(
        self, machine_directory: VmDirectory, machine: Machine, assignment: Assignment
    ) -> FinalReport | None:
        report = self._watch(machine_directory, machine, assignment)
        reach(Point.LAUNCHER_STOPPED)
        discard(machine_directory, assignment)
        return report

    def _watch(self, machine_directory: VmDirectory, machine: Machine, assignment: Assignment) -> FinalReport | None:
        """Return the report to send once the machine is gone. Raises LeftRunning if it must run on."""
        left = False
        try:
            assignment.attach(machine)
            if machine.up is not None and assignment.await_up(machine, machine.up):
                # Refused by a control plane from before this report: then the worker's last report must do.
                self.reports.send(assignment, self.builder.running(assignment), unless=assignment.interrupted)
            by_itself = assignment.watch(machine)
            left = assignment.left_running and not by_itself
        finally:
            code = None if left else _end(machine, assignment)
        if left:
            assignment.attach(None)
            machine.leave()
            log.info(
                LogEvent.MACHINE_LEFT_RUNNING,
                message="The machine was left running: the next daemon adopts it.",
                **assignment.hold.model_dump(),
                pid=machine.pid,
            )
            raise LeftRunning
        log.info(
            LogEvent.MACHINE_GONE,
            message="The machine has ended.",
            **assignment.hold.model_dump(),
            pid=machine.pid,
            exit_code=code,
            stop_reason=assignment.stop_reason,
            **(last_words(machine_directory) if by_itself and assignment.stop_reason is None else {}),
        )
        if by_itself and assignment.stop_reason is None and code == 0:
            self._await_last_report(machine, assignment)
        if by_itself and assignment.stop_reason is None:
            return self.builder.machine_ended(assignment, code)
        return self.builder.interrupted(assignment)

    def _await_last_report(self, machine: Machine, assignment: Assignment) -> None:
        """Wait until the worker's last report has had its time: a heartbeat says so if it has ended the order.

        Raises LeftRunning if the daemon ends before that: the next one finds the machine's end, and waits again.
        """
        if machine.grace_seconds > 0:
            self.pause(machine.grace_seconds, assignment.interrupted)
            if assignment.left_running:
                raise LeftRunning

    def _configuration(self, claimed: Claimed, provider: Provider) -> WorkerConfig:
        return WorkerConfig(
            order_id=claimed.order_id,
            epoch=claimed.epoch,
            control_plane=self.control_plane,
            callback_token=claimed.callback_token,
            spec=claimed.spec,
            sources=self.sources,
            loopback_gateway=provider.loopback_gateway,
            proxy=provider.proxy,
            authorities=self.authorities,
            executor=self.executor if isinstance(claimed.spec, SessionSpec) else None,
        )


def _end(machine: Machine, assignment: Assignment) -> int | None:
    """Stop the machine, and return its exit code. It is gone even if stopping it fails."""
    try:
        machine.stop(assignment.patience)
    finally:
        assignment.attach(None)
        code = machine.reap()
    return code


def discard(machine_directory: VmDirectory, assignment: Assignment) -> None:
    """Remove the directory of a machine that is gone. If that fails, the next daemon tries again."""
    assignment.record_lease_in(None)
    try:
        machine_directory.remove()
    except OSError as error:
        log.error(
            LogEvent.DIRECTORY_NOT_REMOVED,
            message="The directory of an ended machine could not be removed; the next start tries again.",
            path=str(machine_directory.path),
            vm=machine_directory.manifest.vm,
            error=error.strerror,
        )
    reach(Point.LAUNCHER_REMOVED)
