"""Writing a small record that may stand already."""

from collections.abc import Callable
from typing import Final, TypeVar

from functions.domain.refusals import Conflict, NotFound, Unavailable
from functions.ports import Records

T = TypeVar("T")

TRIES: Final = 4


def upsert(records: Records[T], id_: str, fresh: T, again: Callable[[T], T]) -> T:
    """Add `fresh`, or make of the record that stands what `again` says, and return what stands then.

    Raises whatever `again` raises; Unavailable where the record comes and goes all the time.
    """
    for _ in range(TRIES):
        try:
            return records.change(id_, again)
        except NotFound:
            pass
        try:
            records.add(id_, fresh)
        except Conflict:
            continue
        return fresh
    raise Unavailable("Others write the same record at this moment.")
