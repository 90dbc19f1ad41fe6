"""Why a machine did not start, as the control plane's reasons and failure classes."""

import errno
from collections.abc import Mapping
from typing import Final

from launcher.machines.port import LaunchFailed
from shared.domain.order import Failure, Reason

Class = tuple[Reason, Failure]

DISK_FULL: Final[Class] = (Reason.DISK_FULL, Failure.NO_CAPACITY)
NO_CAPACITY: Final[Class] = (Reason.NO_CAPACITY, Failure.NO_CAPACITY)
PORT_TAKEN: Final[Class] = (Reason.PORT_TAKEN, Failure.RETRYABLE)
OTHER: Final[Class] = (Reason.LAUNCH_FAILED, Failure.RETRYABLE)

BY_ERRNO: Final[Mapping[int, Class]] = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EMFILE: NO_CAPACITY,
    errno.ENFILE: NO_CAPACITY,
    errno.ENOMEM: NO_CAPACITY,
    errno.EAGAIN: NO_CAPACITY,  # fork(2): no more processes for this user
}
BY_WORDS: Final[tuple[tuple[tuple[str, ...], Class], ...]] = (
    (("KVM_TDX_INIT_VM", "No space left on device"), NO_CAPACITY),  # no TDX key is free
    (("No space left on device",), DISK_FULL),
    (("Cannot allocate memory",), NO_CAPACITY),
    (("cannot set up guest memory",), NO_CAPACITY),
    (("The machine cannot be confined",), (Reason.HYPERVISOR_MISSING, Failure.RETRYABLE)),
    (("Address already in use",), PORT_TAKEN),
)
"""What QEMU writes; the first match counts."""


def of_host(error: OSError, what: str) -> LaunchFailed:
    """Return the failure that an error of this host means."""
    reason, failure = BY_ERRNO.get(error.errno or 0, OTHER)
    return LaunchFailed(f"{what}: {error.strerror}.", reason, failure)


def of_words(words: str, message: str) -> LaunchFailed:
    """Return the failure that a hypervisor's last output means."""
    found = (kind for phrases, kind in BY_WORDS if all(phrase in words for phrase in phrases))
    reason, failure = next(found, OTHER)
    return LaunchFailed(message, reason, failure)
