"""A machine that serves no order: it says that it is up and stays, or says what it measures."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.guest.config import StandaloneConfig, StandaloneProgram
from shared.guest.console import MEASURE, REGISTERS, UP

MEASUREMENTS: Final = Path("/sys/class/misc/tdx_guest/measurements")
"""Where a trust domain's kernel shows its registers, from 6.16 on: <register>:sha384, 48 bytes
(Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest)."""


def run(config: StandaloneConfig, uptime: str, measurements: Path = MEASUREMENTS) -> int:
    """Return the exit code; an idle machine's worker stays until it is stopped."""
    _say(f"[worker] vm={config.vm} {UP}, {uptime} s after its boot")
    if config.program is StandaloneProgram.MEASURE:
        return _measure(measurements)
    while True:
        signal.pause()


def _measure(measurements: Path) -> int:
    try:
        values = {name: (measurements / f"{name}:sha384").read_bytes().hex() for name in REGISTERS}
    except OSError as error:
        _say(f"{MEASURE} failed: {error.filename}: {error.strerror}")
        return 1
    _say(f"{MEASURE} {_words(values)}")
    return 0


def _words(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
