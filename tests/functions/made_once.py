"""What the control planes of tests have in common and never change: a process of tests makes it once."""

import hashlib
import os
from collections.abc import Sequence, Set
from functools import cache
from types import MappingProxyType
from typing import Final

from pydantic_settings import BaseSettings

from functions.settings import WHOLE, AllSettings
from functions.settings import read_settings as read

SLOW_HASH: Final = hashlib.scrypt
SALT: Final = b"of all passwords of tests"


def read_settings(kinds: Sequence[type[BaseSettings]], function: str = WHOLE) -> AllSettings:
    """Return what the product's function of this name does; each environment is read once."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return _settings(tuple(kinds), function, frozenset(environment.items()))


@cache
def _settings(kinds: Sequence[type[BaseSettings]], function: str, _environment: Set[tuple[str, str]]) -> AllSettings:
    return AllSettings(MappingProxyType(read(kinds, function).by_type))


def scrypt(password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int) -> bytes:
    """Return the hash that is asked for, but with a salt of all tests: each password is hashed once."""
    return _hash(password, n, r, p, maxmem)


@cache
def _hash(password: bytes, n: int, r: int, p: int, maxmem: int) -> bytes:
    return SLOW_HASH(password, salt=SALT, n=n, r=r, p=p, maxmem=maxmem)
