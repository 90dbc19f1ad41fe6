"""Writes a small record that may exist already."""

from collections.abc import Callable
from typing import Final, TypeVar

from functions.domain.refusals import Conflict, NotFound, Unavailable
from functions.ports import Records

T = TypeVar("T")

TRIES: Final = 4


def upsert(records: Records[T], id_: str, fresh: T, change: Callable[[T], T]) -> T:
    """Add `fresh`, or change the record that exists, and return what is stored then.

    Raises whatever `change` raises; Unavailable if the record keeps appearing and disappearing.
    """
    for _ in range(TRIES):
        try:
            return records.change(id_, change)
        except NotFound:
            pass
        try:
            records.add(id_, fresh)
        except Conflict:
            continue
        return fresh
    raise Unavailable("Others write the same record at this moment.")
