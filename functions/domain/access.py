"""Who may call: API keys, looked up by their digest."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.domain.spec import ANY_POOL, EVERY

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


def narrowed(lanes: Collection[str], datacenters: Collection[str]) -> tuple[str, ...]:
    """Return these lanes as far as they are within the datacenters (`gcp`, `gcp:us-central1-a`); none named: any."""
    if not datacenters:
        return tuple(lanes)
    return tuple(within for lane in lanes for scope in datacenters if (within := _within(lane, scope)))


def _within(lane: str, scope: str) -> str | None:
    """Return the part of a lane that is in the scope."""
    pool, _, rest = lane.partition("/")
    cloud, _, zone = scope.partition(":")
    allowed = scope if zone else f"{cloud}:{EVERY}"
    if pool in (ANY_POOL, allowed) or (not zone and pool.startswith(f"{cloud}:")):
        return lane
    return f"{allowed}/{rest}" if pool in (EVERY, f"{cloud}:{EVERY}") else None
