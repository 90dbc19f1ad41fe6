"""Waiting for what a machine says on its serial console."""

import re
import time
from collections.abc import Callable
from typing import Final

from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachineState
from launcher.providers.process.identity import state_of
from shared.guest.console import MEASURE, REGISTERS, UP

LOOK_SECONDS: Final = 2.0
WAIT_SECONDS: Final = 120.0
USER_ADDRESS: Final = "10.0.2.15"
"""The guest's address in QEMU's user network (worker/guest/init)."""
SIGN: Final = re.compile(re.escape(UP))
VALUES: Final = " ".join(rf"{name}=([0-9a-f]{{96}})" for name in REGISTERS)
MEASURED: Final = re.compile(rf"^{MEASURE} (?:{VALUES}|(failed.*))$", re.MULTILINE)
LAST_WORDS: Final = 500


class NothingSaid(Exception):
    """The machine did not say what was waited for."""


def await_sign(directory: VmDirectory, pause: Callable[[float], None] = time.sleep) -> str:
    """Wait until the guest says that it is up, and return its address. Raises NothingSaid.

    There is no address to be asked for from outside: in QEMU's user network there is no lease that a host could see,
    and every guest has the same address, which its host cannot reach. That the guest speaks is the better sign.
    """
    await_words(directory, SIGN, WAIT_SECONDS, pause)
    return USER_ADDRESS


def await_registers(
    directory: VmDirectory, seconds: float, pause: Callable[[float], None] = time.sleep
) -> dict[str, str]:
    """Wait for a measuring machine's registers, and return them by name, in hex. Raises NothingSaid."""
    said = await_words(directory, MEASURED, seconds, pause)
    *values, failure = said.groups()
    if failure is not None:
        raise NothingSaid(f"The machine could not measure itself: {failure}")
    return dict(zip(REGISTERS, values, strict=True))


def await_words(
    directory: VmDirectory, words: re.Pattern[str], seconds: float, pause: Callable[[float], None]
) -> re.Match[str]:
    """Look every two seconds. Raises NothingSaid where the machine ends first, or the time is over."""
    for _ in range(max(int(seconds / LOOK_SECONDS), 1)):
        ended = state_of(directory) is not MachineState.RUNS  # looked at first: what it wrote last is read, too
        if ended:
            directory.await_logs()
        console = read(directory)
        if found := words.search(console):
            return found
        if ended:
            raise NothingSaid(f"The machine ended. Its last words: {console[-LAST_WORDS:].strip()}")
        pause(LOOK_SECONDS)
    raise NothingSaid(
        f"The machine said nothing in {seconds:.0f} s. Its last words: {read(directory)[-LAST_WORDS:].strip()}"
    )


def read(directory: VmDirectory) -> str:
    """A serial console ends its lines with CR and LF."""
    try:
        return directory.serial_log.read_text(errors="replace").replace("\r", "")
    except FileNotFoundError:
        return ""
