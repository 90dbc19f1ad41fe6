"""Which of all launchers of one name this is: an id made once, and kept in the state directory.

A copy of a state directory is a copy of the identity. The host is no part of it: a state directory may be moved, and
the machine-id of a container or of a read-only image changes at every start.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from pydantic import TypeAdapter, ValidationError

from launcher.machines.records import write_durably
from shared.wire.base import Identity

FILE: Final = "identity"
UNREADABLE: Final = "identity.unreadable"
IDENTITY: Final = TypeAdapter(Identity)

log = structlog.get_logger()


def identity_in(state: Path, make: Callable[[], str]) -> str:
    """Return the identity kept in a state directory; `make` one, a UUID, if there is none. Raises OSError."""
    path = state / FILE
    try:
        return IDENTITY.validate_python(path.read_text(errors="replace").strip())
    except FileNotFoundError:
        pass
    except (IsADirectoryError, ValidationError):
        os.replace(path, state / UNREADABLE)
        log.error(
            "the identity in the state directory cannot be read: a new one is made",
            kept_as=UNREADABLE,
            effect="the orders that this launcher held are left to lapse, and their machines are ended",
        )
    made = make()
    write_durably(path, f"{made}\n".encode())
    return made
