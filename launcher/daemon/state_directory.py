"""The state directory of one daemon: its lock, and the identity that distinguishes launchers of one name.

A copy of a state directory is a copy of the identity. The host is not part of it: a state directory may be moved, and
the machine-id of a container or of a read-only image changes at every start.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog
from pydantic import TypeAdapter, ValidationError

from launcher.machines.private import make_folder
from launcher.machines.records import write_durably
from shared.log_events import LogEvent
from shared.wire.launchers import Identity

LOCK: Final = "lock"
FILE: Final = "identity"
UNREADABLE: Final = "identity.unreadable"
IDENTITY: Final = TypeAdapter(Identity)
LASTING: Final = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EPERM,
    }
)
"""Errors that last until a person changes the state directory. Any other, such as a full disk, may go away."""

log = structlog.get_logger()


class StateUnusable(Exception):
    """The state directory cannot be used until a person changes it; the message says why."""


class CannotRunNow(Exception):
    """The launcher cannot run now, but may be able to later. The message says why."""


@contextmanager
def locked(state: Path) -> Iterator[str]:
    """Lock the state directory, so that no other daemon adopts its machines. Yield the launcher's identity.

    Raises StateUnusable, CannotRunNow.
    """
    try:
        make_folder(state)
        (state / LOCK).touch(mode=0o600)
        lock = (state / LOCK).open("w")
    except OSError as error:
        raise failure(f"{state} cannot be written", error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            identity = identity_in(state, lambda: str(uuid4()))
        except BlockingIOError as error:
            raise CannotRunNow(f"{state} is in use by another launcher.") from error
        except OSError as error:
            raise failure(f"{state} cannot be locked and written", error) from error
        yield identity


def failure(what: str, error: OSError) -> StateUnusable | CannotRunNow:
    """Return the exception that tells a supervisor whether another try can help."""
    kind = StateUnusable if error.errno in LASTING else CannotRunNow
    where = f" ({error.filename})" if error.filename else ""
    return kind(f"{what}: {error.strerror or error}{where}")


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
            LogEvent.IDENTITY_REPLACED,
            message="The identity in the state directory cannot be read: the launcher made a new one.",
            kept_as=UNREADABLE,
            effect="the leases of the orders that this launcher held lapse, and their machines are ended",
        )
    made = make()
    write_durably(path, f"{made}\n".encode())
    return made
