"""Notifies the launcher's supervisor, by sd_notify(3), if there is one."""

import socket
from dataclasses import dataclass
from typing import Final

import structlog

from shared.log_events import LogEvent

READY: Final = b"READY=1"
ALIVE: Final = b"WATCHDOG=1"
STOPPING: Final = b"STOPPING=1"
ABSTRACT: Final = "@"
"""In the environment, the first character of the name of an abstract socket (unix(7))."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Supervision:
    """`address` is $NOTIFY_SOCKET. The supervisor restarts the launcher after `patience` seconds without notice."""

    address: str | None = None
    patience: float | None = None

    @property
    def every(self) -> float | None:
        """Return the seconds between two ALIVE notices: half of the supervisor's limit, or None if it has none."""
        return None if self.patience is None else self.patience / 2

    def notify(self, state: bytes) -> None:
        if self.address is None:
            return
        name = self.address.replace(ABSTRACT, "\0", 1) if self.address.startswith(ABSTRACT) else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as supervisor:
                supervisor.connect(name)
                supervisor.send(state)
        except OSError as error:
            log.warning(
                LogEvent.SUPERVISOR_NOT_NOTIFIED,
                message="The supervisor could not be notified.",
                state=state.decode(),
                error=error.strerror,
            )


UNSUPERVISED: Final = Supervision()
