"""Reads every record of a kind, or every one of an account, by pages, so that no number of them hides one."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from functions.ports.records import Records

READ_AT_ONCE: Final = 2000
ALL: Final[Mapping[str, str | bool]] = MappingProxyType({})

T = TypeVar("T")


def every(records: Records[T], by: str, where: Mapping[str, str | bool] = ALL) -> Iterator[T]:
    """Return the records whose fields have these values, those with the earliest time `by` first.

    Raises Unavailable.
    """
    after: str | None = None
    while True:
        page = records.page(where, by, READ_AT_ONCE, after)
        yield from page.records
        after = page.next
        if after is None:
            return


def until_none_is_left(records: Records[T], account: str) -> Iterator[T]:
    """Return the account's records, and look again for others until there are none. The caller removes each.

    Raises Unavailable.
    """
    while found := records.find("account", account, READ_AT_ONCE):
        yield from found
