"""What the launcher's supervisor is told: sd_notify(3). Nobody, where no supervisor asks."""

import socket
from dataclasses import dataclass
from typing import Final

import structlog

READY: Final = b"READY=1"
ALIVE: Final = b"WATCHDOG=1"
STOPPING: Final = b"STOPPING=1"
ABSTRACT: Final = "@"
"""How the name of a socket begins that is in no folder (unix(7)), in the environment."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Supervision:
    """`address` is $NOTIFY_SOCKET. `patience` is in seconds: after so many without word the supervisor starts anew."""

    address: str | None = None
    patience: float | None = None

    @property
    def every(self) -> float | None:
        """How often to say that the launcher lives, in seconds: twice as often as must be; None: never."""
        return None if self.patience is None else self.patience / 2

    def tell(self, state: bytes) -> None:
        if self.address is None:
            return
        name = self.address.replace(ABSTRACT, "\0", 1) if self.address.startswith(ABSTRACT) else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.connect(name)
                told.send(state)
        except OSError as error:
            log.warning("the supervisor cannot be told", state=state.decode(), error=error.strerror)


NOBODY: Final = Supervision()
