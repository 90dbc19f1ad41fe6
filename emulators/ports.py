"""Finds ports of this host that nobody uses."""

import secrets
import socket
import threading
from typing import Final

from emulators.processes import LOOPBACK, StartFailed

PORTS: Final = range(20_000, 32_768)
"""Below those that the kernel gives to outgoing connections (ip(7), ip_local_port_range): a client could get one of
those after the check and before a slow server's start."""
BLOCK: Final = 64
"""The number of ports that a process reserves at a time."""


class _Ports:
    """Hands out ports from blocks that no other process of this host has reserved.

    A reservation is a socket with a name in the abstract namespace (unix(7)): the kernel gives a name to one process of
    a network namespace, and releases it when that process ends, however it ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[int] = []

    def take(self) -> int:
        with self._lock:
            while True:
                while self._left:
                    if _is_free(port := self._left.pop()):
                        return port
                self._left = self._reserve()

    def _reserve(self) -> list[int]:
        """Reserve a block, and return its ports. Raises StartFailed."""
        starts = list(PORTS[::BLOCK])
        while starts:
            start = starts.pop(secrets.randbelow(len(starts)))
            reservation = socket.socket(socket.AF_UNIX)
            try:
                reservation.bind(f"\0launchyard/ports/{start}")
            except OSError:
                reservation.close()
                continue
            reservation.detach()  # it stays open until this process ends
            return list(range(start, min(start + BLOCK, PORTS.stop)))
        raise StartFailed(f"Other processes have reserved all ports from {PORTS.start} to {PORTS.stop - 1}: stop some.")


_ports: Final = _Ports()


def free_port() -> int:
    """Return a free port of the loopback address. No running process gets the same one twice. Raises StartFailed."""
    return _ports.take()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free(name: str, port: int, setting: str) -> None:
    """Raises StartFailed if the port is taken. It names the setting that chooses another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            message = f"Port {port}, for {name}, is taken: stop what listens there, or choose another with {setting}."
            raise StartFailed(message) from error
