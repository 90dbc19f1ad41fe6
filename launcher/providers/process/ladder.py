"""How a virtual machine is asked to stop before it is told: by its power button, then by its monitor."""

from typing import Final

from launcher.machines.directory import VmDirectory
from launcher.providers.process.supervise import Rung
from launcher.providers.qemu import monitor as qmp

POWERDOWN_SECONDS: Final = 15.0
QUIT_SECONDS: Final = 5.0


def gentle_rungs(directory: VmDirectory, powerdown_seconds: float = POWERDOWN_SECONDS) -> tuple[Rung, ...]:
    return (
        Rung("system_powerdown", lambda: _sent(directory, "system_powerdown"), powerdown_seconds),
        Rung("quit", lambda: _sent(directory, "quit"), QUIT_SECONDS),
    )


def _sent(directory: VmDirectory, command: str) -> bool:
    """Send a command that may end the monitor before it answers; return whether it was sent."""
    try:
        qmp.execute(directory.path, command)
    except qmp.NotConnected:
        return False
    except qmp.QmpFailed:
        return True
    return True
