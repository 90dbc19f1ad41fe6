"""Finds the API that a path belongs to, and the key in front of the path: `/k/<key>/<path>`.

A client that knows only a base URL can send its key there. Such a path is never logged: log lines name the route.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from functions.http.api import Api
from functions.http.dialect import NATIVE, Dialect

KEYED: Final = re.compile(r"/k/([^/]+)(/.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """`path` is that of a route, without the key in front of it."""

    path: str
    dialect: Dialect
    key: str | None = field(default=None, repr=False)


def address_of(path: str, apis: Sequence[Api]) -> Address:
    """Return the address of a request's path. A key in front of it counts only for APIs that allow one."""
    keyed = KEYED.fullmatch(path)
    if keyed is None:
        return Address(path, _dialect(apis, path))
    key, rest = keyed.groups()
    dialect = _dialect(apis, rest)
    return Address(rest, dialect, key) if dialect.key_in_path else Address(path, dialect)


def _dialect(apis: Sequence[Api], path: str) -> Dialect:
    """Return the dialect of the API with the longest prefix of this path."""
    prefixes = {prefix: api.dialect for api in apis for prefix in api.prefixes if path.startswith(prefix)}
    return prefixes[max(prefixes, key=len)] if prefixes else NATIVE
