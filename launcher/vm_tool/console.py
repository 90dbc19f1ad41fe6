"""Waits for a machine's output on its serial console."""

import re
import time
from collections.abc import Callable
from typing import Final

from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachineState
from launcher.providers.process.identity import state_of
from shared.guest.console import MEASURE, REGISTERS, UP

POLL_SECONDS: Final = 2.0
WAIT_SECONDS: Final = 120.0
USER_ADDRESS: Final = "10.0.2.15"
"""The guest's address in QEMU's user network (worker/guest/init)."""
SIGN: Final = re.compile(re.escape(UP))
VALUES: Final = " ".join(rf"{name}=([0-9a-f]{{96}})" for name in REGISTERS)
MEASURED: Final = re.compile(rf"^{MEASURE} (?:{VALUES}|(failed.*))$", re.MULTILINE)
TAIL_LENGTH: Final = 500


class ConsoleSilent(Exception):
    """The machine did not write the expected words."""


def await_sign(directory: VmDirectory, pause: Callable[[float], None] = time.sleep) -> str:
    """Wait until the guest reports that it is up, and return its address. Raises ConsoleSilent.

    The address itself proves nothing: in QEMU's user network every guest has the same address, which its host cannot
    reach, and the host sees no DHCP lease.
    """
    await_words(directory, SIGN, WAIT_SECONDS, pause)
    return USER_ADDRESS


def await_registers(
    directory: VmDirectory, seconds: float, pause: Callable[[float], None] = time.sleep
) -> dict[str, str]:
    """Wait for a measuring machine's registers, and return them by name, in hex. Raises ConsoleSilent."""
    found = await_words(directory, MEASURED, seconds, pause)
    *values, failure = found.groups()
    if failure is not None:
        raise ConsoleSilent(f"The machine could not measure itself: {failure}")
    return dict(zip(REGISTERS, values, strict=True))


def await_words(
    directory: VmDirectory, words: re.Pattern[str], seconds: float, pause: Callable[[float], None]
) -> re.Match[str]:
    """Look every two seconds. Raises ConsoleSilent if the machine ends first, or the time is over."""
    for _ in range(max(int(seconds / POLL_SECONDS), 1)):
        ended = state_of(directory) is not MachineState.RUNS  # checked first, so that its last output is read, too
        if ended:
            directory.await_logs()
        console = read(directory)
        if found := words.search(console):
            return found
        if ended:
            raise ConsoleSilent(f"The machine ended. Its last output: {console[-TAIL_LENGTH:].strip()}")
        pause(POLL_SECONDS)
    raise ConsoleSilent(
        f"Nothing came within {seconds:.0f} s. Its last output: {read(directory)[-TAIL_LENGTH:].strip()}"
    )


def read(directory: VmDirectory) -> str:
    """Return the serial log with plain line ends: a serial console ends lines with CR and LF."""
    try:
        return directory.serial_log.read_text(errors="replace").replace("\r", "")
    except FileNotFoundError:
        return ""
