"""Identifies callers: by API keys, which are looked up by their digest, or by bearer tokens of workers."""

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cachetools import TTLCache
from flask import Request
from pydantic import TypeAdapter, ValidationError

from functions.domain.access import ApiKey, Role
from functions.domain.refusals import Forbidden, Invalid, Malformed, Unauthenticated
from functions.http.parsing import single_header
from functions.ports.keys import KeyStore
from shared.wire.launchers import IDENTITY_HEADER, Identity

KEY_CACHE_SECONDS: Final = 30.0
"""How long an instance that has seen a key may still accept it after its removal."""
KEY_CACHE_SIZE: Final = 4096
IDENTITY: Final = TypeAdapter(Identity)
BEARER: Final = re.compile(r"bearer[ \t]+([^ \t]+)", re.IGNORECASE)


class Open(Enum):
    """The ways in which a route is open without an API key.

    `WORKER` needs a token, which the handler verifies. `ANYONE` needs nothing. `EITHER` allows both; the handler
    decides.
    """

    WORKER = "worker"
    ANYONE = "anyone"
    EITHER = "either"


Access = frozenset[Role] | Open
"""The roles that may call a route, or the way in which it is open."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The account whose API key was sent, and the datacenters for which the key is valid (see ApiKey).

    `identity` distinguishes launchers of one name; None if it was not sent.
    """

    role: Role
    account: str
    datacenters: tuple[str, ...] = ()
    identity: str | None = None

    @property
    def owner(self) -> str | None:
        """Return the account whose orders the caller may reach; None for an operator, who may reach all."""
        return None if self.role is Role.ADMIN else self.account


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, not yet verified."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Anyone:
    """A caller without a credential."""


Caller = Principal | Bearer | Anyone


class CachedKeys:
    """A KeyStore that remembers found keys for a while, so that most requests need no read."""

    def __init__(self, store: KeyStore, timer: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._found: TTLCache[str, ApiKey] = TTLCache(KEY_CACHE_SIZE, KEY_CACHE_SECONDS, timer)

    def find(self, key_digest: str) -> ApiKey | None:
        with self._lock:
            found = self._found.get(key_digest)
        if found is None and (found := self._store.find(key_digest)) is not None and not found.revocable:
            with self._lock:
                self._found[key_digest] = found
        return found

    def add(self, key: ApiKey) -> None:
        self._store.add(key)

    def mark_used(self, key_digest: str) -> None:
        self._store.mark_used(key_digest)

    def remove(self, key_digest: str) -> None:
        self._store.remove(key_digest)
        with self._lock:
            self._found.pop(key_digest, None)


@dataclass(frozen=True, slots=True)
class KeyTexts:
    """A contract's error texts for a credential that is missing, malformed, unknown, or of a role that may not call."""

    no_header: str
    malformed_header: str
    unknown_key: str
    wrong_role: Callable[[Role, frozenset[Role]], str]


def authenticate(access: Access, authorization: str | None, keys: KeyStore) -> Caller:
    """Return the caller from the Authorization header. Raises Unauthenticated, Forbidden."""
    return caller_of(access, authorization, keys, NATIVE_TEXTS)


def caller_of(access: Access, authorization: str | None, keys: KeyStore, texts: KeyTexts) -> Caller:
    """Return the caller from the Authorization header. Raises Unauthenticated and Forbidden with these texts."""
    if access is Open.ANYONE or (access is Open.EITHER and authorization is None):
        return Anyone()
    token = bearer(authorization)
    if token is None:
        raise Unauthenticated(texts.no_header if authorization is None else texts.malformed_header)
    if isinstance(access, Open):
        return Bearer(token)
    key = keys.find(hashlib.sha256(token.encode()).hexdigest())
    if key is None:
        raise Unauthenticated(texts.unknown_key)
    if key.role not in access:
        raise Forbidden(texts.wrong_role(key.role, access))
    if key.unused:
        keys.mark_used(key.digest)
    return Principal(key.role, key.account, key.datacenters)


def keyed_or_open(access: Access, authorization: str | None, keys: KeyStore, open_to: str | None) -> Caller:
    """Return the caller: without a key, the account `open_to`, if there is one. Raises Unauthenticated, Forbidden."""
    if authorization is None and not isinstance(access, Open) and open_to is not None:
        return Principal(Role.CLIENT if Role.CLIENT in access else Role.LAUNCHER, open_to)
    return authenticate(access, authorization, keys)


def authorization_of(request: Request, key: str | None) -> str | None:
    """Return the Authorization header, or one with the key of the address. Raises Malformed if both differ."""
    header = single_header(request, "Authorization")
    if key is None:
        return header
    if header is not None and bearer(header) != key:
        raise Malformed("The address and the Authorization header have different keys; send one of them.")
    return f"Bearer {key}"


def identity_of(request: Request) -> str | None:
    """Return the launcher's identity, or None if it was not sent. Raises Invalid, Malformed."""
    identity = single_header(request, IDENTITY_HEADER)
    if identity is None:
        return None
    try:
        return IDENTITY.validate_python(identity)
    except ValidationError:
        wrong = {IDENTITY_HEADER: "Send the UUID in the launcher's state directory, in lower case, or no header."}
        raise Invalid("A header is wrong.", wrong) from None


def bearer(authorization: str | None) -> str | None:
    """Return the key or token in an Authorization header (RFC 6750); None if there is none."""
    found = BEARER.fullmatch((authorization or "").strip(" \t"))
    return found and found[1]


def _wrong_role(role: Role, access: frozenset[Role]) -> str:
    return f"A key of the role {role} may not do that; use a key of the role {' or '.join(sorted(access))}."


HEADER_FORM: Final = "Send the header `Authorization: Bearer <key>`."
NATIVE_TEXTS: Final = KeyTexts(HEADER_FORM, HEADER_FORM, "This API key is not valid.", _wrong_role)
