"""One order's run: plan, directory, machine, end; and what is told of it."""

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from launcher.held import Held, Wish
from launcher.reports import Reports, Verdict
from launcher.vm import directory
from launcher.vm.directory import VmDirectory, VmManifest
from launcher.vm.provider import LaunchFailed, Machine, Provider
from shared.api import AttemptFailed, Provisioning, Returned, Stopped
from shared.domain.order import Reason
from shared.image import ImageRejected
from shared.vm_config import Sources, WorkerConfig

Ending = AttemptFailed | Returned | Stopped

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Runner:
    """`control_plane` is the URL that the machine's worker calls back."""

    launcher: str
    control_plane: str
    sources: Sources
    state: Path
    provider: Provider
    reports: Reports

    def run(self, held: Held) -> None:
        """Run the order to its end. When this returns, nothing of its machine is left."""
        ending = self._attempt(held)
        if ending is not None:
            self.reports.send(held, ending, unless=held.hurried)

    def _attempt(self, held: Held) -> Ending | None:
        """Return what to report, once the machine and its directory are gone; None where there is nothing to say."""
        if held.wish is not None:  # a claim under way while the launcher goes down may bring what it just returned
            return self._farewell(held)
        try:
            machine_directory = self._prepare(held)
        except ImageRejected as rejected:
            return self._image_rejected(held, rejected)
        except LaunchFailed as failed:
            return self._launch_failed(held, failed)
        except OSError as error:
            return self._launch_failed(held, LaunchFailed(f"This host fails: {error.strerror}."))
        try:
            ending = self._in_directory(machine_directory, held)
        except OSError as error:  # its directory stays: the daemon's next start makes sure that nothing of it runs
            return self._launch_failed(held, LaunchFailed(f"This host fails: {error.strerror}."))
        _remove(machine_directory)
        return ending

    def _prepare(self, held: Held) -> VmDirectory:
        uuid = str(uuid4())
        config = self._configuration(held)
        plan = self.provider.plan(uuid, config)
        manifest = VmManifest(
            **held.hold.model_dump(),
            vm=f"vm-{uuid}",
            uuid=uuid,
            provider=self.provider.name,
            mode=plan.mode,
            image_digest=plan.image_digest,
            argv=plan.argv,
        )
        try:
            return directory.create(self.state, manifest, config.canonical())
        except OSError as error:
            raise LaunchFailed(f"The machine's directory cannot be written: {error.strerror}") from error

    def _in_directory(self, machine_directory: VmDirectory, held: Held) -> Ending | None:
        verdict = self.reports.send(held, self._provisioning(held, machine_directory.manifest.vm), unless=held.asked)
        if held.lease_left() <= 0:
            held.ask(Wish.LEASE_LOST)
        if verdict is not Verdict.TAKEN or held.wish is not None:
            return None if verdict is Verdict.REFUSED else self._farewell(held)
        try:
            machine = self.provider.start(machine_directory)
        except ImageRejected as rejected:
            return self._image_rejected(held, rejected)
        except LaunchFailed as failed:
            return self._launch_failed(held, failed)
        return self._keep(machine, held)

    def _keep(self, machine: Machine, held: Held) -> Ending | None:
        try:
            log.info("machine started", **held.hold.model_dump(), pid=machine.pid)
            held.attach(machine)
            by_itself = held.watch(machine)
        finally:
            code = _end(machine, held)
        log.info("machine gone", **held.hold.model_dump(), pid=machine.pid, exit_code=code, wish=held.wish)
        if by_itself and held.wish is None:
            return self._failed(held, Reason.MACHINE_EXITED, f"The machine ended by itself, with exit code {code}.")
        return self._farewell(held)

    def _farewell(self, held: Held) -> Ending | None:
        """Return what a stopped order's wish demands to be reported."""
        match held.wish:
            case Wish.CANCELLED:
                return Stopped(request_id=str(uuid4()), launcher=self.launcher, epoch=held.hold.epoch)
            case Wish.GOING_DOWN:
                return Returned(
                    request_id=str(uuid4()),
                    launcher=self.launcher,
                    epoch=held.hold.epoch,
                    message="The launcher is going down.",
                )
            case _:
                return None

    def _image_rejected(self, held: Held, rejected: ImageRejected) -> AttemptFailed:
        log.error("image rejected", **held.hold.model_dump(), error=str(rejected))
        return self._failed(held, Reason.IMAGE_REJECTED, str(rejected), retryable=False)

    def _launch_failed(self, held: Held, failed: LaunchFailed) -> AttemptFailed:
        log.error("launch failed", **held.hold.model_dump(), error=str(failed))
        return self._failed(held, Reason.LAUNCH_FAILED, str(failed))

    def _failed(self, held: Held, reason: Reason, message: str, retryable: bool = True) -> AttemptFailed:
        return AttemptFailed(
            request_id=str(uuid4()),
            launcher=self.launcher,
            epoch=held.hold.epoch,
            reason=reason,
            message=message,
            retryable=retryable,
        )

    def _provisioning(self, held: Held, vm: str) -> Provisioning:
        return Provisioning(request_id=str(uuid4()), launcher=self.launcher, epoch=held.hold.epoch, vm=vm)

    def _configuration(self, held: Held) -> WorkerConfig:
        claimed = held.claimed
        return WorkerConfig(
            order_id=claimed.order_id,
            epoch=claimed.epoch,
            control_plane=self.control_plane,
            callback_token=claimed.callback_token,
            spec=claimed.spec,
            sources=self.sources,
            loopback_gateway=self.provider.loopback_gateway,
        )


def _end(machine: Machine, held: Held) -> int:
    """Stop the machine, and return its exit code; it is gone even where stopping it fails."""
    try:
        machine.stop(held.patience)
    finally:
        held.attach(None)
        code = machine.reap()
    return code


def _remove(machine_directory: VmDirectory) -> None:
    """Remove the directory of a machine that is gone; where that fails, the next start of the daemon tries again."""
    try:
        machine_directory.remove()
    except OSError as error:
        log.error("a machine's directory cannot be removed", vm=machine_directory.manifest.vm, error=error.strerror)
