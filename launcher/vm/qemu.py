"""The provider `qemu`: virtual machines on this host, from the verified guest image."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.vm import argv, qmp
from launcher.vm.directory import VmDirectory
from launcher.vm.machine import ProcessMachine, Rung, start_process
from launcher.vm.provider import LaunchFailed, Plan
from shared.image import verify
from shared.vm_config import WorkerConfig, sha384

LOOPBACK_GATEWAY: Final = "10.0.2.2"
"""The host's loopback, as QEMU's user-mode network shows it to the guest."""
READY_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.05
POWERDOWN_SECONDS: Final = 15.0
QUIT_SECONDS: Final = 5.0
LAST_WORDS: Final = 500


@dataclass(frozen=True, slots=True)
class QemuProvider:
    """`digest` is what the image's manifest must hash to; nothing else is ever booted."""

    mode: argv.Mode
    image: Path
    digest: str
    memory_mib: int
    vcpus: int
    binary: str = "qemu-system-x86_64"
    powerdown_seconds: float = POWERDOWN_SECONDS
    name: str = "qemu"
    loopback_gateway: str | None = LOOPBACK_GATEWAY

    def plan(self, uuid: str, config: WorkerConfig) -> Plan:
        guest = argv.Guest(
            uuid=uuid,
            image=self.image,
            manifest=verify(self.image, self.digest),
            memory_mib=self.memory_mib,
            vcpus=self.vcpus,
            config_digest=sha384(config.canonical()),
        )
        return Plan(argv.build(self.mode, guest, self.binary), self.mode, self.digest)

    def start(self, directory: VmDirectory) -> ProcessMachine:
        verify(self.image, self.digest)  # again: since the plan was made, minutes may have passed
        machine = start_process(directory, directory.launch_log, self._gentle_rungs(directory), directory.path)
        answers, code = False, None
        try:
            answers = _answers(machine, directory)
        finally:
            if not answers:
                code = machine.destroy()
        if not answers:
            raise LaunchFailed(f"QEMU did not get as far as QMP (exit code {code}): {_last_words(directory)}")
        return machine

    def _gentle_rungs(self, directory: VmDirectory) -> tuple[Rung, ...]:
        return (
            Rung("system_powerdown", lambda: _sent(directory, "system_powerdown"), self.powerdown_seconds),
            Rung("quit", lambda: _sent(directory, "quit"), QUIT_SECONDS),
        )


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


def _sent(directory: VmDirectory, command: str) -> bool:
    """Send a command that may end the monitor before it answers; return whether it was sent."""
    try:
        qmp.execute(directory.path, command)
    except qmp.NotConnected:
        return False
    except qmp.QmpFailed:
        return True
    return True


def _last_words(directory: VmDirectory) -> str:
    return directory.launch_log.read_text(errors="replace").strip()[-LAST_WORDS:]
