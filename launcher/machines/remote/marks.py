"""Names and marks of remote machines: the same for the same order and epoch, so that a machine is found again.

Marks are labels or metadata. Every cloud that is used here takes lower-case letters, digits, `-` and `_` in them.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.wire.launchers import Hold

NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1035."""
MAX_PREFIX_LENGTH: Final = 24
DIGEST_LENGTH: Final = 24
MAX_LENGTH: Final = 63

MANAGED: Final = "launchyard"
LAUNCHER: Final = "launchyard-launcher"
IDENTITY: Final = "launchyard-identity"
CONTROL_PLANE: Final = "launchyard-control-plane"
ORDER: Final = "launchyard-order"
EPOCH: Final = "launchyard-epoch"

Marks = dict[str, str]


@dataclass(frozen=True, slots=True)
class Owner:
    """The launcher that makes machines: its name, its identity, and the URL of its control plane."""

    launcher: str
    identity: str
    control_plane: str

    @property
    def listed_by(self) -> Marks:
        """Return the marks by which machines are listed. Another control plane's launcher may have the same name."""
        return {
            MANAGED: "managed",
            LAUNCHER: _exact(self.launcher),
            CONTROL_PLANE: _digest(self.control_plane),
        }

    def marks(self, hold: Hold) -> Marks:
        """Return all the marks of a hold's machine."""
        return {**self.listed_by, IDENTITY: fitted(self.identity), **of_hold(hold)}

    def made(self, marks: Mapping[str, str]) -> bool:
        """Return whether the marks say that this launcher made the machine, and not another of its name.

        Launchers of earlier versions gave their machines no identity: those count as foreign.
        """
        return self.listed_by.items() <= marks.items() and marks.get(IDENTITY) == fitted(self.identity)


def machine_name(prefix: str, hold: Hold) -> str:
    """Return a name with the order's id, or with a digest of it if the id does not fit."""
    plain = f"{prefix}-{hold.order_id}-{hold.epoch}"
    if NAME.fullmatch(plain):
        return plain
    start = re.sub(r"[^a-z0-9-]", "-", prefix.lower())[:MAX_PREFIX_LENGTH].strip("-")
    return f"{start if NAME.fullmatch(start) else 'vm'}-{_digest(hold.order_id)}-{hold.epoch}"


def of_hold(hold: Hold) -> Marks:
    return {ORDER: _exact(hold.order_id), EPOCH: str(hold.epoch)}


def fitted(text: str) -> str:
    """Return a text as a valid mark. Different texts may give the same mark."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:MAX_LENGTH]


def _exact(text: str) -> str:
    """Return a text as a valid mark. Different texts give different marks."""
    if (value := fitted(text)) == text:
        return value
    return f"{value[: MAX_LENGTH - DIGEST_LENGTH - 1]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
