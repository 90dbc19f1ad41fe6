"""Cuts lists so that they fit into one answer: Cloud Run sends at most 32 MiB in one response.

https://cloud.google.com/run/quotas#request_limits
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from functions.domain.order import Order
from functions.ports.orders import OrderPage, OrderQuery

PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of orders ends after this number of bytes, even if it has fewer orders than its limit."""
MAX_LIST_BYTES: Final = 24 * 1024 * 1024
"""The size limit of a list that has no pages, in bytes."""

View = TypeVar("View", bound=BaseModel)


def page_of(
    query: OrderQuery, view: Callable[[Order], View], at_once: int, read: Callable[[OrderQuery], OrderPage]
) -> tuple[tuple[View, ...], str | None]:
    """Return the views of the page's orders, and the `after` of the next page.

    Orders are read in groups of `at_once`: that many of the largest orders must fit into an answer in addition to
    PAGE_BYTES. If the store returns fewer, the page ends, because it would take too long to read past many unreadable
    orders.
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
    """Return the first views, as many as fit into one answer."""
    kept, size = list[View](), 0
    for view in views:
        size += _size(view)
        if size > MAX_LIST_BYTES:
            break
        kept.append(view)
    return tuple(kept)


def _size(view: BaseModel) -> int:
    """Return the view's size in an answer, in bytes, with a comma."""
    return len(to_json(view)) + 1
