"""Lists that fit into one answer: Cloud Run sends at most 32 MiB in one piece.

https://cloud.google.com/run/quotas#request_limits
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from functions.domain.order import Order
from functions.ports import OrderPage, OrderQuery

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Bytes."""
PAGE_BYTES: Final = 8 * 1024 * 1024
"""Bytes after which a page of orders ends, however many orders it was to have."""
MAX_LIST_BYTES: Final = 24 * 1024 * 1024
"""Bytes of a list that has no pages."""

View = TypeVar("View", bound=BaseModel)


def page_of(
    query: OrderQuery, view: Callable[[Order], View], at_once: int, read: Callable[[OrderQuery], OrderPage]
) -> tuple[tuple[View, ...], str | None]:
    """Return the views of the page's orders, and the `after` of the next page.

    Orders are read `at_once`: so many of the largest, beside PAGE_BYTES, must fit into an answer. If the store returns
    fewer, the page ends: to read on, past many orders that cannot be read, would take too long.
    """
    views, size, after = list[View](), 0, query.after
    while True:
        wanted = min(at_once, query.limit - len(views))
        page = read(replace(query, after=after, limit=wanted))
        read_now = [view(order) for order in page.orders]
        views += read_now
        size += sum(map(_size, read_now))
        after = page.next
        if after is None or len(read_now) < wanted or len(views) >= query.limit or size >= PAGE_BYTES:
            return tuple(views), after


def fitting(views: Iterable[View]) -> tuple[View, ...]:
    """Return as many of the first views as fit into one answer."""
    kept, size = list[View](), 0
    for view in views:
        size += _size(view)
        if size > MAX_LIST_BYTES:
            break
        kept.append(view)
    return tuple(kept)


def _size(view: BaseModel) -> int:
    """Return its bytes in an answer, with the comma that follows."""
    return len(to_json(view)) + 1
