"""The port of small records: accounts, pools, agents and the like."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RecordPage(Generic[T]):
    """A page of records. Its `next` is the mark of the next page; None on the last page."""

    records: Sequence[T]
    next: str | None


class Records(Protocol[T]):
    """Stores small records of one kind: frozen dataclasses, by an id (any text). Every method raises Unavailable.

    If this version cannot read a record, methods that take its id raise OtherVersion; `find`, `latest`, `before`,
    `page` and `all` skip it.
    """

    def add(self, id_: str, record: T) -> None:
        """Add a record. A repeat with the same record changes nothing. Raises Conflict if another has this id."""

    def get(self, id_: str) -> T | None: ...

    def change(self, id_: str, change: Callable[[T], T]) -> T:
        """Replace the record with the result of `change`, and return that; if another write was faster, try again.

        If `change` returns the same record, nothing is written.

        Raises NotFound, and what `change` raises; then nothing is written.
        """

    def upsert(self, id_: str, fresh: T, change: Callable[[T], T]) -> T:
        """Add `fresh`, or replace an existing record with the result of `change`; return the stored record.

        `change` must be safe to repeat: it may get `fresh` itself, if the answer to its addition was lost. Raises what
        `change` raises.
        """

    def take(self, id_: str, which: Callable[[T], bool] = lambda _: True) -> T | None:
        """Remove the record and return it. If several callers take it, at most one gets it.

        Return None if there is none, or if `which` rejects it.
        """

    def find(self, field: str, value: str, limit: int) -> Sequence[T]:
        """Return the records whose field has this value."""

    def find_every(self, field: str, value: str, limit: int) -> Sequence[T]:
        """Do the same as `find`, for callers that need all matches. Raises OtherVersion if one cannot be read."""

    def latest(self, field: str, value: str, by: str, limit: int) -> Sequence[T]:
        """Return the records whose field has this value, those with the latest time `by` first."""

    def before(self, field: str, time: datetime, limit: int) -> Sequence[T]:
        """Return the records whose time is before this one, oldest first."""

    def page(self, where: Mapping[str, str | bool], by: str, limit: int, after: str | None = None) -> RecordPage[T]:
        """Return a page of the records whose fields have these values, those with the earliest time `by` first.

        `after` is the last page's `next`. Raises Invalid if it is not a page mark of this store.
        """

    def count(self, where: Mapping[str, str | bool]) -> int:
        """Return the number of records whose fields have these values, also of those that cannot be read."""

    def all(self, limit: int) -> Sequence[T]: ...
