"""Who may call: API keys, looked up by their digest."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

KEY_PREFIX: Final = "ly_"
KEY_BYTES: Final = 32
"""256 random bits: such a key needs no slow hash."""


class Role(StrEnum):
    ADMIN = "admin"
    CLIENT = "client"
    LAUNCHER = "launcher"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of a key: never the key itself. `digest` is its SHA-256 in lower-case hex."""

    digest: str
    role: Role
    account: str


def digest(key: str) -> str:
    """Return the SHA-256 by which a key is stored and looked up, in lower-case hex."""
    return hashlib.sha256(key.encode()).hexdigest()
