"""API keys and roles: who may call which routes. Keys are looked up by their digest."""

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
    """The stored part of a key, which excludes the key itself. `digest` is its SHA-256 in lower-case hex.

    A `revocable` key is looked up at each use, so that its removal takes effect at once. `datacenters` (`gcp`,
    `gcp:us-central1-a`) limits a launcher's key; empty means any datacenter.
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
    """Return the lanes, limited to these datacenters (`gcp`, `gcp:us-central1-a`); empty means any datacenter."""
    if not datacenters:
        return tuple(lanes)
    return tuple(within for lane in lanes for scope in datacenters if (within := _within(lane, scope)))


def _within(lane: str, scope: str) -> str | None:
    """Return the part of a lane that is within the scope."""
    pool, _, rest = lane.partition("/")
    cloud, _, zone = scope.partition(":")
    allowed = scope if zone else f"{cloud}:{EVERY}"
    if pool in (ANY_POOL, allowed) or (not zone and pool.startswith(f"{cloud}:")):
        return lane
    return f"{allowed}/{rest}" if pool in (EVERY, f"{cloud}:{EVERY}") else None
