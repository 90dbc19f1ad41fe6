"""Builds a launcher's reports about an order, and sends each until it is answered."""

import threading
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from uuid import uuid4

import structlog

from launcher.host.clock import Clock
from launcher.machines.directory import VmDirectory
from launcher.machines.explanations import EXPLANATIONS
from launcher.machines.port import LaunchFailed
from launcher.orders.assignment import Assignment, StopReason
from launcher.orders.outage import Backoff, Outage
from shared.client import ControlPlane
from shared.client_errors import Refused, Unreachable
from shared.domain.order import Failure, Reason
from shared.guest.image import ImageRejected
from shared.log_events import LogEvent
from shared.wire.launchers import (
    AttemptFailed,
    MachineGone,
    MachineRunning,
    Provisioning,
    Returned,
    Stopped,
    UpdateRequest,
)

TAIL_BYTES: Final = 4096
MAX_LINE_LENGTH: Final = 300
"""The part of a serial log's last line that the log repeats."""

INVALID: Final = "invalid"
"""The code of a request that the control plane cannot read, such as a report of a kind that was added since."""

FinalReport = AttemptFailed | MachineGone | Returned | Stopped

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReportBuilder:
    """Builds reports. Each is a request of its own, and is sent unchanged until it is answered."""

    launcher: str

    def provisioning(self, assignment: Assignment, vm: str) -> Provisioning:
        return Provisioning(request_id=str(uuid4()), launcher=self.launcher, epoch=assignment.hold.epoch, vm=vm)

    def running(self, assignment: Assignment) -> MachineRunning:
        return MachineRunning(request_id=str(uuid4()), launcher=self.launcher, epoch=assignment.hold.epoch)

    def interrupted(self, assignment: Assignment) -> Stopped | Returned | None:
        """Return the report about an interrupted order whose machine is gone; None if there is none to send."""
        if assignment.stop_reason is StopReason.CANCELLED:
            return Stopped(request_id=str(uuid4()), launcher=self.launcher, epoch=assignment.hold.epoch)
        if assignment.stop_reason is StopReason.GOING_DOWN or assignment.left_running:
            return self.returned(assignment.hold.epoch, "The launcher is going down.")
        return None

    def returned(self, epoch: int, message: str) -> Returned:
        return Returned(request_id=str(uuid4()), launcher=self.launcher, epoch=epoch, message=message)

    def machine_ended(self, assignment: Assignment, exit_code: int | None) -> MachineGone:
        """Report a machine that ended by itself. What it wrote last is for the launcher's log only (`last_words`)."""
        code = "" if exit_code is None else f", with exit code {exit_code}"
        return self.machine_gone(assignment.hold.epoch, exit_code, f"The machine ended by itself{code}.")

    def machine_gone(self, epoch: int, exit_code: int | None, message: str) -> MachineGone:
        return MachineGone(
            request_id=str(uuid4()), launcher=self.launcher, epoch=epoch, exit_code=exit_code, message=message
        )

    def image_rejected(self, assignment: Assignment, rejected: ImageRejected) -> AttemptFailed:
        log.error(
            LogEvent.IMAGE_REJECTED,
            message="The guest image does not match its digest: no machine was started.",
            **assignment.hold.model_dump(),
            error=str(rejected),
        )
        return self.failed(assignment.hold.epoch, Reason.IMAGE_REJECTED, EXPLANATIONS[Reason.IMAGE_REJECTED])

    def launch_failed(self, assignment: Assignment, failed: LaunchFailed) -> AttemptFailed:
        log.error(
            LogEvent.LAUNCH_FAILED,
            message="The machine could not be started.",
            **assignment.hold.model_dump(),
            reason=failed.reason,
            error=str(failed),
        )
        return self.failed(assignment.hold.epoch, failed.reason, failed.explanation, failed.failure)

    def failed(self, epoch: int, reason: Reason, message: str, failure: Failure = Failure.RETRYABLE) -> AttemptFailed:
        return AttemptFailed(
            request_id=str(uuid4()),
            launcher=self.launcher,
            epoch=epoch,
            reason=reason,
            message=message,
            failure=failure,
        )


class Delivery(Enum):
    """The result of sending a report."""

    ACCEPTED = auto()
    REFUSED = auto()
    """This launcher no longer holds the order, or the order has ended: it needs no more reports."""
    UNANSWERED = auto()


class ReportSender:
    def __init__(self, control_plane: ControlPlane, clock: Clock) -> None:
        self._control_plane, self._clock = control_plane, clock

    def send(self, assignment: Assignment, report: UpdateRequest, unless: threading.Event) -> Delivery:
        """Send the same request until it is answered, `unless` is set, or the lease has ended."""
        backoff, outage = Backoff(self._clock.jitter), Outage(self._clock.monotonic, requests="reports")
        while True:
            try:
                accepted = submit(self._control_plane, assignment.hold.order_id, report)
            except Unreachable as error:
                outage.failed(error)
                wait = backoff.next(error)
            else:
                if accepted is None:
                    return Delivery.REFUSED
                outage.answered()
                log.info(
                    LogEvent.REPORT_ACCEPTED,
                    message="The control plane accepted a report about the order.",
                    **assignment.hold.model_dump(),
                    status=accepted.status,
                )
                return Delivery.ACCEPTED
            if unless.is_set() or not assignment.leased():
                return Delivery.UNANSWERED
            self._clock.pause(wait, unless)


def submit(control_plane: ControlPlane, order_id: str, report: UpdateRequest) -> UpdateRequest | None:
    """Send a report once. Return it as the control plane accepted it; log its refusal, and return None.

    Raises Unreachable.
    """
    try:
        try:
            control_plane.update(order_id, report)
        except Refused as refused:
            # A control plane of the version before does not know `machine_gone`. An order that is not attended has no
            # lease that expires, and would stay `running` for ever. This may go one version later.
            if not isinstance(report, MachineGone) or refused.code != INVALID:
                raise
            report = _as_failed_attempt(report)
            control_plane.update(order_id, report)
    except Refused as refused:
        log_refused(order_id, report, refused)
        return None
    return report


def log_refused(order_id: str, report: UpdateRequest, refused: Refused) -> None:
    log.info(
        LogEvent.REPORT_REFUSED,
        message="The control plane refused a report about the order.",
        order_id=order_id,
        epoch=report.epoch,
        status=report.status,
        code=refused.code,
    )


def _as_failed_attempt(gone: MachineGone) -> AttemptFailed:
    """Report the end of a machine as the version before did. The request id is the same whenever `gone` is repeated."""
    return AttemptFailed(
        request_id=f"{gone.request_id}.failed",
        launcher=gone.launcher,
        epoch=gone.epoch,
        reason=Reason.MACHINE_EXITED,
        message=gone.message,
        failure=Failure.RETRYABLE,
    )


def last_words(directory: VmDirectory) -> dict[str, str]:
    """Return, for the log, the last line of an ended machine's serial log, and where that is kept; empty if there is
    none.
    """
    try:
        directory.await_logs()  # its writer, another process, may not have written the last line yet
        with directory.serial_log.open("rb") as serial_log:
            serial_log.seek(max(0, directory.serial_log.stat().st_size - TAIL_BYTES))
            lines = serial_log.read().decode(errors="replace").splitlines()
    except OSError:  # a remote machine, or a disk that fails
        return {}
    printable = ["".join(filter(str.isprintable, line)).strip() for line in lines]
    last = next((line for line in reversed(printable) if line), "")
    return {"serial_log": str(directory.kept_log), "last_line": last[:MAX_LINE_LENGTH]}
