"""The user of a machine's process: of its own if the launcher is root, so that machines cannot reach each other."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import UUID

from launcher.host.confinement import User

UNUSED: Final = range(1_879_048_192, 2_147_483_648)
"""User ids that nothing else uses (systemd, Users, Groups, UIDs and GIDs): a pair for each machine, by its uuid."""
TRANSIENT: Final = range(61_184, 65_520)
"""The same page's ids of services, for a container that has only 65,536."""
OF_GUESTS: Final = (Path("/dev/kvm"), Path("/dev/iommu"), Path("/dev/vfio/vfio"))
VFIO: Final = Path("/dev/vfio/devices")
GROUP_USES: Final = stat.S_IRGRP | stat.S_IWGRP


class NoUser(Exception):
    """No user can be given to machines; the message says why, and what to do."""


def user_of(uuid: str, user: int | None, quote_socket: Path) -> User | None:
    """Return the user of a machine's process; None if this process is not root, and its machines run as it does.

    `user` is the number that the operator chose for all machines; None: one for each. Raises NoUser.
    """
    if os.geteuid() != 0:
        return None
    groups = _groups((*OF_GUESTS, *(VFIO.iterdir() if VFIO.is_dir() else ()), quote_socket))
    if user is not None:
        return User(user, user, groups, forwarder=user)
    pair = _first_of_pair(uuid)
    return User(pair, pair, groups, forwarder=pair + 1)


def _first_of_pair(uuid: str) -> int:
    for ids in (UNUSED, TRANSIENT):
        if all(_is_mapped(ids, Path(f"/proc/self/{kind}_map")) for kind in ("uid", "gid")):
            return ids.start + 2 * (UUID(uuid).int % (len(ids) // 2))
    raise NoUser("This host's root has too few user ids for machines: name a user in LAUNCHYARD_VM_USER.")


def _is_mapped(ids: range, file: Path) -> bool:
    """Return whether this user namespace has all these ids (user_namespaces(7))."""
    rows = [[int(word) for word in line.split()] for line in file.read_text().splitlines()]
    return any(first <= ids.start and ids.stop <= first + count for first, _, count in rows)


def _groups(paths: Iterable[Path]) -> tuple[int, ...]:
    """Return the groups for which devices and sockets that guests need are open, root's left out."""
    found: set[int] = set()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        if status.st_mode & GROUP_USES == GROUP_USES and status.st_gid != 0:
            found.add(status.st_gid)
    return tuple(sorted(found))
