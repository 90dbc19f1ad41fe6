"""The provider `qemu`: virtual machines on this host, from the verified guest image."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from launcher.host.checks.host import HERE, Case, Host
from launcher.host.checks.registry import missing_for_launch
from launcher.host.checks.service import closed_to_machines
from launcher.host.confinement import Confinement, PassedFile
from launcher.host.hypervisor import QemuMode
from launcher.host.users import NoUser
from launcher.machines.directory import DATA_DISK, MIB, VmDirectory
from launcher.machines.failures import of_host, of_words
from launcher.machines.port import Concerns, LaunchFailed, MachinePlan
from launcher.machines.private import opener
from launcher.machines.resources import GIB, Resources, Size, Sizes
from launcher.providers.process.recovery import LocalMachines
from launcher.providers.process.start import start_process
from launcher.providers.process.supervise import ProcessMachine, ShutdownStep
from launcher.providers.qemu import argv
from launcher.providers.qemu import monitor as qmp
from shared.domain.order import Reason
from shared.domain.spec import AnySpec, OrderKind
from shared.guest.config import WorkerConfig, sha384
from shared.guest.image import MANIFEST, ImageManifest, verify
from shared.wire.launchers import Hold

QEMU: Final = "qemu"
READY_SECONDS: Final = 30.0
"""The minimum time limit for QEMU's monitor to answer."""
READY_SECONDS_A_GIB: Final = 1.0
GPU_FACTOR: Final = 4
"""The factor for a machine with GPUs, whose whole memory is pinned.

Both figures are those of Proxmox (qemu-server, config_aware_timeout), which has them from its users' reports.
"""
POLL_SECONDS: Final = 0.05
LAST_WORDS: Final = 500
OWN_MEMORY_MIB: Final = 512
"""QEMU's approximate memory in addition to its guest's."""


class QemuMachines(LocalMachines):
    """The recoverer for machines under QEMU, which have a monitor."""

    __slots__ = ()

    def shutdown_steps(self, directory: VmDirectory) -> Sequence[ShutdownStep]:
        return qmp.shutdown_steps(directory)


@dataclass(frozen=True, slots=True)
class QemuProvider(QemuMachines):
    """`digest` is the digest of the image's manifest; no other image is ever booted.

    `gpus` are the PCI addresses that go to each machine of a size with GPUs.
    """

    mode: QemuMode
    image: Path
    digest: str
    sizes: Sizes
    directory_mib: int = 64
    host: Host = HERE
    gpus: tuple[str, ...] = ()
    powerdown_seconds: float = qmp.POWERDOWN_SECONDS
    name: str = QEMU
    starting_limit: int | None = None

    @property
    def loopback_gateway(self) -> str | None:
        return self.host.hypervisor.loopback_gateway

    @property
    def proxy(self) -> str | None:
        return self.host.hypervisor.proxy

    def resources(self, spec: AnySpec) -> Resources:
        needs = takes(self.sizes.of(spec), self.mode, self.directory_mib)
        return needs + Resources(sessions=int(spec.kind is OrderKind.SESSION))

    def plan(self, _hold: Hold, uuid: str, config: WorkerConfig) -> MachinePlan:
        return self.plan_guest(uuid, self.sizes.of(config.spec), config.canonical())

    def plan_guest(self, uuid: str, size: Size, configuration: bytes) -> MachinePlan:
        """Decide how to start a machine of any configuration. Raises ImageRejected, LaunchFailed."""
        manifest, gpus = self._verified(), self.gpus if size.gpus else ()
        require(Case(self.host, self.mode, gpus))
        guest = argv.Guest(
            uuid=uuid,
            manifest=manifest,
            memory_mib=size.memory_mib,
            vcpus=size.vcpus,
            config_digest=sha384(configuration),
            disk_mib=size.disk_mib,
            gpus=gpus,
        )
        return MachinePlan(argv.build(self.mode, guest, self.host.hypervisor), self.mode, self.digest)

    def start(self, directory: VmDirectory) -> ProcessMachine:
        image = self._verified()  # again: the plan may be minutes old
        has_data_disk = self._make_data_disk(directory)
        machine = start_process(
            directory,
            directory.launch_log,
            qmp.shutdown_steps(directory, self.powerdown_seconds),
            directory.path,
            unit_slice=self.host.hypervisor.slice,
            console=directory.serial_log,
            confinement=self._confinement(directory, argv.files(self.mode, self.image, image, has_data_disk)),
        )
        seconds = ready_seconds(directory.manifest.resources)
        answers, ended = False, False
        try:
            answers = _answers(machine, directory, seconds)
        finally:
            if not answers:
                ended = machine.ended_within(0)
                code = machine.destroy()
        if not answers:
            words = _last_words(directory)
            raise of_words(words, _ended(code, words) if ended else _silent(seconds, words))
        return machine

    def _confinement(self, directory: VmDirectory, files: tuple[PassedFile, ...]) -> Confinement:
        """Return what confines the machine's process. Raises LaunchFailed."""
        try:
            return self.host.hypervisor.confinement(directory.manifest.uuid, files)
        except NoUser as error:
            raise LaunchFailed(str(error), Reason.HYPERVISOR_MISSING) from error

    def _make_data_disk(self, directory: VmDirectory) -> bool:
        """Make a sparse file for the data disk, with the size that the manifest reserves in addition to the directory's
        share. Return whether there is one.
        """
        mib = directory.manifest.resources.disk_mib - self.directory_mib
        if mib <= 0:
            return False
        try:
            with open(directory.path / DATA_DISK, "wb", opener=opener) as disk:
                disk.truncate(mib * MIB)
        except OSError as error:
            raise of_host(error, "The machine's data disk cannot be made") from error
        return True

    def _verified(self) -> ImageManifest:
        """Verify the image, and return its manifest. Raises ImageRejected, LaunchFailed."""
        if not (self.image / MANIFEST).exists():
            raise LaunchFailed(f"The guest image does not exist: {self.image.name}.", Reason.IMAGE_MISSING)
        manifest = verify(self.image, self.digest)
        if wrong := closed_to_machines(self.image, manifest):
            raise LaunchFailed(f"The guest image cannot be used: {wrong}.", Reason.IMAGE_MISSING)
        return manifest


def takes(size: Size, mode: QemuMode, directory_mib: int) -> Resources:
    """Return the resources that a machine of a size takes from its host."""
    return Resources(
        machines=1,
        memory_mib=size.memory_mib + OWN_MEMORY_MIB,
        vcpus=size.vcpus,
        disk_mib=directory_mib + size.disk_mib,
        gpus=size.gpus,
        tdx_keys=1 if mode is QemuMode.TDX else 0,
    )


def require(case: Case) -> None:
    """Raise LaunchFailed, with the first one's reason and all names, if checks that a launch depends on fail.

    If only the GPUs of its size are missing, smaller machines can start.
    """
    if lacking := missing_for_launch(case):
        message = "\n".join(f"{result.check.name}: {result.finding}" for result in lacking)
        only_gpus = bool(case.gpus) and not missing_for_launch(replace(case, gpus=()))
        concerns = Concerns.LANE if only_gpus else None
        raise LaunchFailed(message, lacking[0].check.reason or Reason.HYPERVISOR_MISSING, concerns=concerns)


def ready_seconds(takes: Resources) -> float:
    """Return the time limit for QEMU's monitor to answer, in seconds: QEMU first allocates, and may pin, its memory."""
    seconds = max(READY_SECONDS, takes.memory_mib / GIB * READY_SECONDS_A_GIB)
    return seconds * GPU_FACTOR if takes.gpus else seconds


def _answers(machine: ProcessMachine, directory: VmDirectory, seconds: float) -> bool:
    """Wait until the monitor answers; return False if QEMU ends first, or if the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(qmp.QmpFailed):
            qmp.execute(directory.path, "query-status", min(qmp.ANSWER_SECONDS, max(deadline - time.monotonic(), 0)))
            return True
        if machine.ended_within(POLL_SECONDS):
            return False
    return False


def _ended(code: int | None, words: str) -> str:
    return f"QEMU ended before its monitor answered (exit code {code}): {words or 'it wrote nothing'}"


def _silent(seconds: float, words: str) -> str:
    return (
        f"QEMU's monitor did not answer within {seconds:.0f} s: {words or 'QEMU wrote nothing'}. To do: look at the "
        "host's load and free memory, or make the size smaller (LAUNCHYARD_…_MEMORY_MIB)"
    )


def _last_words(directory: VmDirectory) -> str:
    directory.await_logs()
    return directory.launch_log.read_text(errors="replace").strip()[-LAST_WORDS:]
