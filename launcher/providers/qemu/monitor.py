"""QEMU's monitor (QMP): sends one command for each connection, because QMP serves one client at a time."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from qemu.qmp import QMPClient, QMPError

from launcher.machines.directory import QMP_SOCKET, VmDirectory
from launcher.providers.process.supervise import ShutdownStep

ANSWER_SECONDS: Final = 5.0
POWERDOWN_SECONDS: Final = 15.0
"""How long a guest may take to shut down after its power button was pressed."""
QUIT_SECONDS: Final = 5.0


class QmpFailed(Exception):
    """The monitor did not answer, or refused. The command may have been carried out."""


class NotConnected(QmpFailed):
    """No QMP server listens on the socket: the command was not sent."""


def shutdown_steps(directory: VmDirectory, powerdown_seconds: float = POWERDOWN_SECONDS) -> tuple[ShutdownStep, ...]:
    """Return the steps before SIGTERM: the guest's power button, then QEMU's own `quit`."""
    return (
        ShutdownStep("system_powerdown", lambda: _sent(directory, "system_powerdown"), powerdown_seconds),
        ShutdownStep("quit", lambda: _sent(directory, "quit"), QUIT_SECONDS),
    )


def execute(directory: Path, command: str, seconds: float = ANSWER_SECONDS) -> object:
    """Send one command to the machine of this directory and return the answer. Raises QmpFailed, NotConnected."""
    with _opened(directory) as descriptor, _loop() as loop:
        try:
            return loop.run(_execute(f"/proc/self/fd/{descriptor}/{QMP_SOCKET}", command, seconds))
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise QmpFailed(f"{command}: {error or type(error).__name__}") from error


def _sent(directory: VmDirectory, command: str) -> bool:
    """Send a command that may end the monitor before it answers; return whether it was sent."""
    try:
        execute(directory.path, command)
    except NotConnected:
        return False
    except QmpFailed:
        return True
    return True


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """Open a directory by a descriptor, because a Unix socket's path has at most 108 bytes (unix(7)).

    Raises NotConnected."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotConnected(str(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _loop() -> Iterator[asyncio.Runner]:
    """An event loop takes descriptors of its own. Raises NotConnected if there are none left."""
    with asyncio.Runner() as runner:
        try:
            runner.get_loop()
        except OSError as error:
            raise NotConnected(str(error)) from error
        yield runner


async def _execute(address: str, command: str, seconds: float) -> object:
    client = QMPClient()
    async with asyncio.timeout(seconds):
        try:
            await client.connect(address)
        except (QMPError, OSError) as error:
            raise NotConnected(str(error)) from error
        try:
            return await client.execute(command)
        finally:
            with suppress(QMPError, OSError, EOFError):  # after `quit` the other end may close first
                await client.disconnect()
