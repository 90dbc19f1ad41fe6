"""A trust domain that is started to measure itself, and is gone afterwards."""

from pathlib import Path

from launcher.machines.sizes import Size
from launcher.providers.qemu.provider import QemuProvider
from launcher.vm_tool import console, machines
from shared.guest.config import StandaloneConfig, StandaloneProgram


def measure(state: Path, provider: QemuProvider, size: Size, seconds: float) -> dict[str, str]:
    """Return the registers by name, in hex: MRTD is the firmware's, RTMR0 differs with memory and processors.

    Raises ImageRejected, LaunchFailed, NothingSaid, MachineUnclear, OSError.
    """
    config = StandaloneConfig(program=StandaloneProgram.MEASURE, vm=machines.new_name())
    with machines.gone_unless_told(state, config.vm):
        made = machines.start(state, provider, size, config)
        registers = console.await_registers(made, seconds)
        machines.end(made)
    return registers
