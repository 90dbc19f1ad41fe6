"""API keys and roles: who may call which routes. Keys are looked up by their digest."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.domain.lanes import IMAGE, SECRETS
from shared.domain.spec import ANY_POOL, EVERY, OrderKind

KEY_PREFIX: Final = "ly_"
KEY_BYTES: Final = 32
"""256 random bits: such a key needs no slow hash."""

WORK: Final = frozenset({ANY_POOL, SECRETS})
"""The words of a scope that name no datacenter."""
SECRET_LANES: Final = frozenset(
    {f"{OrderKind.EXPORT}/{IMAGE}", f"{OrderKind.TASK}/{IMAGE}", f"{OrderKind.TASK}/{SECRETS}"}
)
"""What follows `any/` in the lanes of orders whose machines get credentials of the operator's: a bucket's, or the
secrets that the order asks for.
"""


class Role(StrEnum):
    ADMIN = "admin"
    CLIENT = "client"
    LAUNCHER = "launcher"
    AGENT = "agent"
    CONTRIBUTOR = "contributor"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The stored part of a key, which excludes the key itself. `digest` is its SHA-256 in lower-case hex.

    A `revocable` key is looked up at each use, so that its removal takes effect at once.

    `datacenters` is the scope of a launcher's key: clouds and datacenters (`gcp`, `gcp:us-central1-a`) whose capacity
    orders it may claim, `*` for those of every datacenter, `any` for the orders that belong to no datacenter, and
    `secrets` for those of them whose machines get credentials of the operator's. An empty scope is no limit.

    `unused` is true until the first use of a key of an unconfirmed account.
    """

    digest: str
    role: Role
    account: str
    revocable: bool = False
    datacenters: tuple[str, ...] = ()
    unused: bool = False


def digest(key: str) -> str:
    """Return the SHA-256 by which a key is stored and looked up, in lower-case hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def narrowed(lanes: Collection[str], scope: Collection[str]) -> tuple[str, ...]:
    """Return the lanes, limited to this scope (see ApiKey); an empty scope is no limit."""
    if not scope:
        return tuple(lanes)
    return tuple(dict.fromkeys(within for lane in lanes for word in scope if (within := _within(lane, word))))


def beyond(asked: Collection[str], scope: Collection[str]) -> tuple[str, ...]:
    """Return the words of a scope that is asked for that are not within another scope."""
    return tuple(word for word in asked if not any(_includes(allowed, word) for allowed in scope))


def _includes(allowed: str, word: str) -> bool:
    """Return whether the first word of a scope allows all that the second one does."""
    if word == allowed:
        return True
    return word not in WORK and (allowed == EVERY or word.partition(":")[0] == allowed)


def _within(lane: str, scope: str) -> str | None:
    """Return the part of a lane that is within this word of a scope."""
    pool, _, rest = lane.partition("/")
    if pool == ANY_POOL:
        return lane if scope == (SECRETS if rest in SECRET_LANES else ANY_POOL) else None
    if scope == EVERY:
        return lane
    if scope in WORK:
        return None
    cloud, _, zone = scope.partition(":")
    allowed = scope if zone else f"{cloud}:{EVERY}"
    if pool == allowed or (not zone and pool.startswith(f"{cloud}:")):
        return lane
    return f"{allowed}/{rest}" if pool in (EVERY, f"{cloud}:{EVERY}") else None
