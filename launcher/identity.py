"""Which of all launchers of one name this is: an id made once, and kept in the state directory.

A copy of a state directory is a copy of the identity. The host is no part of it: a state directory may be moved, and
the machine-id of a container or of a read-only image changes at every start.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from launcher.vm.records import write_durably

FILE: Final = "identity"
UNREADABLE: Final = "identity.unreadable"
IDENTITY: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger()


def identity_in(state: Path, make: Callable[[], str]) -> str:
    """Return the identity kept in a state directory; `make` one, a UUID, if there is none. Raises OSError."""
    path = state / FILE
    kept = _kept(path)
    if kept is not None and IDENTITY.fullmatch(kept):
        return kept
    if kept is not None:
        os.replace(path, state / UNREADABLE)
        log.error(
            "the identity in the state directory cannot be read: a new one is made",
            kept_as=UNREADABLE,
            effect="the orders that this launcher held are left to lapse, and their machines are ended",
        )
    made = make()
    write_durably(path, f"{made}\n".encode())
    return made


def _kept(path: Path) -> str | None:
    """Return what the file says, whatever it is; None if there is no file. Raises OSError."""
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return ""
