"""`launchyard vm` in a folder of its own, and machines for it."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psutil
from typer.testing import CliRunner, Result

from launcher.cli.vm import app
from launcher.host.checks.host import Host
from launcher.host.hypervisor import QemuMode
from launcher.machines import directory
from launcher.machines.bounded_log import CONSOLE
from launcher.machines.directory import VmDirectory
from launcher.machines.records import VmManifest
from launcher.machines.resources import Size, Sizes
from launcher.providers.process.start import start_process
from launcher.providers.qemu.argv import MONITOR
from launcher.providers.qemu.provider import QemuProvider
from shared.guest.console import REGISTERS
from tests.launcher.fake_control_plane import DEADLINE
from tests.launcher.stand_ins import A_LEASE, STAYS, a_manifest
from tests.launcher.tdx_host import QEMU as QEMU_SCRIPT
from tests.launcher.tdx_host import write
from tests.launcher.test_qemu import write_image

NAME: Final = "tdvirsh-trust_domain_verity-"
SMALL: Final = ("--size", "tiny", "--memory", "64M", "--vcpus", "1", "--disk", "2M")
VALUES: Final = {name: f"{number:02x}" * 48 for number, name in enumerate(REGISTERS)}
MEASURED: Final = f"MEASURE {' '.join(f'{name}={value}' for name, value in VALUES.items())}"


@dataclass(frozen=True)
class Tool:
    state: Path
    image: Path

    def run(self, command: str, *words: str) -> Result:
        return CliRunner().invoke(app, [command, *words, "--state-dir", str(self.state)])

    def succeed(self, command: str, *words: str) -> str:
        done = self.run(command, *words)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    def new(self, *words: str) -> dict[str, Any]:
        return dict(json.loads(self.succeed("new", "-i", str(self.image), *SMALL, *words)))

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(int(json.loads(self.succeed("status", name))["id"]))


def an_operators_manifest(argv: tuple[str, ...] = STAYS, order_id: str | None = None) -> VmManifest:
    return a_manifest(order_id or str(uuid4()), argv).model_copy(update={"vm": f"{NAME}{uuid4()}"})


def a_machine(state: Path, argv: tuple[str, ...]) -> tuple[VmDirectory, psutil.Process]:
    made = directory.create(state, an_operators_manifest(argv), b"{}", A_LEASE)
    machine = start_process(made, made.launch_log)
    machine.leave()
    return made, psutil.Process(machine.pid)


def a_waiting_command(tool: Tool) -> "subprocess.Popen[bytes]":
    words = ("new", "-i", str(tool.image), *SMALL, "--wait", "--state-dir", str(tool.state))
    argv = (sys.executable, "-m", "cli.main", "vm", *words)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def await_process(state: Path) -> int:
    """Return the process of the one machine, once its monitor is there."""
    deadline = time.monotonic() + DEADLINE
    while not (sockets := list(state.glob("vms/[!.]*/qmp.sock"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    recorded = directory.read(sockets[0].parent).process()
    assert recorded is not None
    return recorded.pid


def a_measuring_provider(folder: Path, host: Host, console_line: str) -> QemuProvider:
    """The provider of a TDX host, whose QEMU is a real one under emulation that first writes a line to the console."""
    stays = 'exec qemu-system-x86_64 -uuid "$2" -machine q35 -accel tcg -m 16M -nodefaults -nographic'
    monitor = f"-chardev socket,id=qmp,fd={MONITOR},server=on,wait=off -mon chardev=qmp,mode=control"
    script = QEMU_SCRIPT.replace("*) exit", f"-uuid) echo '{console_line}' >&{CONSOLE}; {stays} {monitor};;\n  *) exit")
    write(Path(host.hypervisor.binary), script)
    sizes = Sizes(work=Size(memory_mib=64, vcpus=1))
    return QemuProvider(QemuMode.TDX, folder / "image", write_image(folder / "image"), sizes, host=host)
