"""The program of a standalone machine: print that it is up and stay, or print its measurements."""

import signal
import sys
from pathlib import Path
from typing import Final

from shared.guest.config import StandaloneConfig, StandaloneProgram
from shared.guest.console import MEASURE, REGISTERS, UP

MEASUREMENTS: Final = Path("/sys/class/misc/tdx_guest/measurements")
"""From 6.16 on the kernel of a trust domain shows its registers here: <register>:sha384, 48 bytes
(Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest)."""


def run(config: StandaloneConfig, uptime: str, measurements: Path = MEASUREMENTS) -> int:
    """Return the exit code. The worker of an idle machine runs until it is stopped."""
    _print_line(f"[worker] vm={config.vm} {UP}, {uptime} s after its boot")
    if config.program is StandaloneProgram.MEASURE:
        return _measure(measurements)
    while True:
        signal.pause()


def _measure(measurements: Path) -> int:
    try:
        values = {name: (measurements / f"{name}:sha384").read_bytes().hex() for name in REGISTERS}
    except OSError as error:
        _print_line(f"{MEASURE} failed: {error.filename}: {error.strerror}")
        return 1
    _print_line(f"{MEASURE} {' '.join(f'{name}={value}' for name, value in values.items())}")
    return 0


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
