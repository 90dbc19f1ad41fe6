"""Lists that fit into one answer: Cloud Run sends at most 32 MiB in one piece.

https://cloud.google.com/run/quotas#request_limits
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from functions.domain.order import Order
from functions.ports import OrderQuery, OrderStore

MOST_ANSWERED: Final = 32 * 1024 * 1024
"""Bytes."""
ENOUGH: Final = 8 * 1024 * 1024
"""Bytes after which a page of orders ends, however many orders it was to have."""
MOST_LISTED: Final = 24 * 1024 * 1024
"""Bytes of a list that has no pages."""

View = TypeVar("View", bound=BaseModel)


def page_of(
    query: OrderQuery, view: Callable[[Order], View], at_once: int, store: OrderStore
) -> tuple[tuple[View, ...], str | None]:
    """Return the page's orders as they are told, and the `after` of the next page.

    Orders are read `at_once`: so many of the largest, beside ENOUGH, must fit into an answer. If the store gives up
    before so many, the page ends: behind many orders that cannot be read, one answer would take too long.
    """
    views, size, after = list[View](), 0, query.after
    while True:
        wanted = min(at_once, query.limit - len(views))
        page = store.page(replace(query, after=after, limit=wanted))
        told = [view(order) for order in page.orders]
        views += told
        size += sum(map(_size, told))
        after = page.next
        if after is None or len(told) < wanted or len(views) >= query.limit or size >= ENOUGH:
            return tuple(views), after


def fitting(views: Iterable[View]) -> tuple[View, ...]:
    """Return the first of them that fit into an answer together."""
    kept, size = list[View](), 0
    for view in views:
        size += _size(view)
        if size > MOST_LISTED:
            break
        kept.append(view)
    return tuple(kept)


def _size(view: BaseModel) -> int:
    """Return its bytes in an answer, with the comma that follows."""
    return len(to_json(view)) + 1
