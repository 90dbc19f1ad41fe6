"""What a launcher tells of an order: each in one place, so that adopted machines end in the same words."""

from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import structlog

from launcher.machines.directory import VmDirectory
from launcher.machines.port import LaunchFailed
from launcher.orders.assignment import Held, Wish
from shared.domain.order import Failure, Reason
from shared.guest.image import ImageRejected
from shared.wire.launchers import AttemptFailed, Provisioning, Returned, Stopped

LAST_BYTES: Final = 4096
LINE_LENGTH: Final = 300
"""How much of a serial log's last line a message repeats."""

Ending = AttemptFailed | Returned | Stopped

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Endings:
    """Each is a request of its own, sent as it is until it is answered."""

    launcher: str

    def provisioning(self, held: Held, vm: str) -> Provisioning:
        return Provisioning(request_id=str(uuid4()), launcher=self.launcher, epoch=held.hold.epoch, vm=vm)

    def farewell(self, held: Held) -> Ending | None:
        """Return what a stopped order's wish demands to be reported."""
        match held.wish:
            case Wish.CANCELLED:
                return Stopped(request_id=str(uuid4()), launcher=self.launcher, epoch=held.hold.epoch)
            case Wish.GOING_DOWN | Wish.LEFT:
                return self.returned(held.hold.epoch, "The launcher is going down.")
            case _:
                return None

    def returned(self, epoch: int, message: str) -> Returned:
        return Returned(request_id=str(uuid4()), launcher=self.launcher, epoch=epoch, message=message)

    def machine_exited(self, held: Held, code: int | None, directory: VmDirectory) -> AttemptFailed:
        told = "" if code is None else f", with exit code {code}"
        message = f"The machine ended by itself{told}.{_last_words(directory)}"
        return self.failed(held.hold.epoch, Reason.MACHINE_EXITED, message)

    def image_rejected(self, held: Held, rejected: ImageRejected) -> AttemptFailed:
        log.error("image rejected", **held.hold.model_dump(), error=str(rejected))
        return self.failed(held.hold.epoch, Reason.IMAGE_REJECTED, str(rejected))

    def launch_failed(self, held: Held, failed: LaunchFailed) -> AttemptFailed:
        log.error("launch failed", **held.hold.model_dump(), reason=failed.reason, error=str(failed))
        return self.failed(held.hold.epoch, failed.reason, str(failed), failed.failure)

    def failed(self, epoch: int, reason: Reason, message: str, failure: Failure = Failure.RETRYABLE) -> AttemptFailed:
        return AttemptFailed(
            request_id=str(uuid4()),
            launcher=self.launcher,
            epoch=epoch,
            reason=reason,
            message=message,
            failure=failure,
        )


def _last_words(directory: VmDirectory) -> str:
    """Return what an ended machine said last on its serial console, and where the rest is kept; nothing without one."""
    try:
        directory.await_logs()  # another process writes them, and may not have written the last line yet
        with directory.serial_log.open("rb") as log:
            log.seek(max(0, directory.serial_log.stat().st_size - LAST_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:  # it has none: a machine elsewhere, or a disk that fails
        return ""
    said = ["".join(filter(str.isprintable, line)).strip() for line in lines]
    last = next((line for line in reversed(said) if line), None)
    if last is None:
        return f" It said nothing on its serial console ({directory.kept_log})."
    return f" The last line of its serial log, {directory.kept_log}: {last[:LINE_LENGTH]}"
