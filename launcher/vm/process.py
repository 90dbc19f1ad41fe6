"""The provider `process`: the worker as a subprocess of this host, for machines without QEMU. It isolates nothing."""

import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.vm.directory import CONFIG, VmDirectory, location
from launcher.vm.machine import ProcessMachine, start_process
from launcher.vm.provider import Plan
from shared.vm_config import WorkerConfig


@dataclass(frozen=True, slots=True)
class ProcessProvider:
    """`state` is the launcher's state directory. The worker runs in the launcher's own working directory."""

    state: Path
    name: str = "process"
    loopback_gateway: str | None = None

    def plan(self, uuid: str, config: WorkerConfig) -> Plan:
        document = location(self.state, config.order_id, config.epoch) / CONFIG
        # Python keeps -X options that it does not know: the uuid makes this process known again by its arguments.
        return Plan((sys.executable, "-X", f"launchyard.vm={uuid}", "-m", "worker", "--config", str(document)))

    def start(self, directory: VmDirectory) -> ProcessMachine:
        return start_process(directory, directory.serial_log)
