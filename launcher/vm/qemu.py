"""The provider `qemu`: virtual machines on this host, from the verified guest image."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.vm import argv, qmp
from launcher.vm.directory import VmDirectory
from launcher.vm.failures import of_words
from launcher.vm.hypervisor import Hypervisor
from launcher.vm.ladder import POWERDOWN_SECONDS, gentle_rungs
from launcher.vm.launch import start_process
from launcher.vm.local import QEMU, LocalMachines
from launcher.vm.machine import ProcessMachine
from launcher.vm.provider import LaunchFailed, Plan
from launcher.vm.resources import Resources
from shared.api import Hold
from shared.domain.order import Reason
from shared.domain.spec import AnySpec
from shared.image import MANIFEST, ImageManifest, verify
from shared.vm_config import WorkerConfig, sha384

LOOPBACK_GATEWAY: Final = "10.0.2.2"
"""The host's loopback, as QEMU's user-mode network shows it to the guest."""
READY_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.05
LAST_WORDS: Final = 500
OWN_MEMORY_MIB: Final = 512
"""About what a QEMU takes beside its guest's memory."""


@dataclass(frozen=True, slots=True)
class QemuProvider(LocalMachines):
    """`digest` is what the image's manifest must hash to; nothing else is ever booted."""

    mode: argv.Mode
    image: Path
    digest: str
    memory_mib: int
    vcpus: int
    disk_mib: int = 64
    hypervisor: Hypervisor = argv.QEMU_HERE
    powerdown_seconds: float = POWERDOWN_SECONDS
    name: str = QEMU
    loopback_gateway: str | None = LOOPBACK_GATEWAY

    def resources(self, _spec: AnySpec) -> Resources:
        return Resources(
            machines=1,
            memory_mib=self.memory_mib + OWN_MEMORY_MIB,
            vcpus=self.vcpus,
            disk_mib=self.disk_mib,
            tdx_keys=1 if self.mode is argv.Mode.TDX else 0,
        )

    def plan(self, _hold: Hold, uuid: str, config: WorkerConfig) -> Plan:
        guest = argv.Guest(
            uuid=uuid,
            image=self.image,
            manifest=self._verified(),
            memory_mib=self.memory_mib,
            vcpus=self.vcpus,
            config_digest=sha384(config.canonical()),
        )
        return Plan(argv.build(self.mode, guest, self.hypervisor), self.mode, self.digest)

    def start(self, directory: VmDirectory) -> ProcessMachine:
        self._verified()  # again: since the plan was made, minutes may have passed
        gentle = gentle_rungs(directory, self.powerdown_seconds)
        machine = start_process(directory, directory.launch_log, gentle, directory.path)
        answers, code = False, None
        try:
            answers = _answers(machine, directory)
        finally:
            if not answers:
                code = machine.destroy()
        if not answers:
            words = _last_words(directory)
            raise of_words(words, f"QEMU did not get as far as QMP (exit code {code}): {words}")
        return machine

    def _verified(self) -> ImageManifest:
        """Raises ImageRejected, LaunchFailed."""
        if not (self.image / MANIFEST).exists():
            raise LaunchFailed(f"The guest image is not there: {self.image.name}.", Reason.IMAGE_MISSING)
        return verify(self.image, self.digest)


def _answers(machine: ProcessMachine, directory: VmDirectory) -> bool:
    """Wait until the monitor answers; False where QEMU ends first, or the time is over."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(qmp.QmpFailed):
            qmp.execute(directory.path, "query-status")
            return True
        if machine.ended_within(LOOK_SECONDS):
            return False
    return False


def _last_words(directory: VmDirectory) -> str:
    return directory.launch_log.read_text(errors="replace").strip()[-LAST_WORDS:]
