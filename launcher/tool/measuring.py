"""A trust domain that is started to measure itself, and is gone afterwards."""

from pathlib import Path

from launcher.tool import console, machines
from launcher.vm.qemu import QemuProvider
from launcher.vm.sizes import Size
from shared.vm_config import OrderlessConfig, OrderlessProgram


def measure(state: Path, provider: QemuProvider, size: Size, seconds: float) -> dict[str, str]:
    """Return the registers by name, in hex: MRTD is the firmware's, RTMR0 differs with memory and processors.

    Raises ImageRejected, LaunchFailed, NothingSaid, MachineUnclear, OSError.
    """
    config = OrderlessConfig(program=OrderlessProgram.MEASURE, vm=machines.new_name())
    with machines.gone_unless_told(state, config.vm):
        made = machines.start(state, provider, size, config)
        registers = console.await_registers(made, seconds)
        machines.end(made)
    return registers
