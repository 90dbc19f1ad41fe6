"""The provider `process`: the worker as a subprocess of this host, for machines without QEMU. It isolates nothing."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.machines.directory import CONFIG, VmDirectory, location
from launcher.machines.failures import of_host
from launcher.machines.port import MachinePlan
from launcher.machines.resources import Resources
from launcher.providers.process.recovery import LocalMachines
from launcher.providers.process.start import start_process
from launcher.providers.process.supervise import ProcessMachine
from shared.domain.spec import AnySpec, OrderKind
from shared.guest.config import WorkerConfig
from shared.wire.launchers import Hold

PROCESS: Final = "process"
MEMORY_MIB: Final = 128
"""The approximate memory of a worker that is a plain process."""


@dataclass(frozen=True, slots=True)
class ProcessProvider(LocalMachines):
    """`state` is the launcher's state directory. The worker runs in the launcher's own working directory.

    `slice` is the systemd slice of the machines; None: they stay in the launcher's control group.
    """

    state: Path
    directory_mib: int = 64
    slice: str | None = None
    name: str = PROCESS
    loopback_gateway: str | None = None
    proxy: str | None = None
    starting_limit: int | None = None

    def resources(self, spec: AnySpec) -> Resources:
        return Resources(
            machines=1, memory_mib=MEMORY_MIB, disk_mib=self.directory_mib, sessions=int(spec.kind is OrderKind.SESSION)
        )

    def plan(self, hold: Hold, uuid: str, _config: WorkerConfig) -> MachinePlan:
        document = location(self.state, hold.order_id, hold.epoch) / CONFIG
        # Python keeps -X options that it does not know: the uuid identifies the process by its arguments.
        return MachinePlan((sys.executable, "-X", f"launchyard.vm={uuid}", "-m", "worker", "--config", str(document)))

    def start(self, directory: VmDirectory) -> ProcessMachine:
        try:
            directory.temporary.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise of_host(error, "The machine's directory cannot be written") from error
        variables = {"TMPDIR": str(directory.temporary.resolve())}
        return start_process(directory, directory.serial_log, variables=variables, unit_slice=self.slice)
