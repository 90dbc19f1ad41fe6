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
    AGENT = "agent"
    CONTRIBUTOR = "contributor"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is stored of a key: never the key itself. `digest` is its SHA-256 in lower-case hex.

    One that its holder may withdraw (`revocable`) is looked up at each use, so that it is dead at once. A launcher's
    may be good for some `datacenters` only (`gcp`, `gcp:us-central1-a`); none named: any.
    """

    digest: str
    role: Role
    account: str
    revocable: bool = False
    datacenters: tuple[str, ...] = ()


def digest(key: str) -> str:
    """Return the SHA-256 by which a key is stored and looked up, in lower-case hex."""
    return hashlib.sha256(key.encode()).hexdigest()
