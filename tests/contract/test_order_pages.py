"""The contract of every order store about the pages of a list."""

import base64
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

import pytest

from functions.domain.order import Order
from functions.domain.refusals import Invalid
from functions.ports.orders import OrderPage, OrderQuery, OrderStore
from shared.domain.order import State
from shared.domain.spec import OrderKind
from tests.contract.conftest import stored
from tests.factories import CAPACITY, EXPORT, NOW, SESSION, TASK, a_claim, an_order

SOON = timedelta(seconds=1)


def test_pages_go_from_the_newest_to_the_oldest_and_miss_none(orders: OrderStore) -> None:
    twins = [stored(orders, an_order(now=NOW - SOON)) for _ in range(3)]
    newest, oldest = stored(orders, an_order()), stored(orders, an_order(now=NOW - 2 * SOON))
    page = partial(_page, orders, limit=2)

    first = page()
    second = page(after=first.next)
    third = page(after=second.next)

    expected = [newest, *sorted(twins, key=lambda order: order.id, reverse=True), oldest]
    assert [*first.orders, *second.orders, *third.orders] == expected
    assert third.next is None


def test_a_page_mark_outlives_its_order_being_changed(orders: OrderStore) -> None:
    older, newer = stored(orders, an_order(now=NOW - SOON)), stored(orders)
    first = _page(orders, state=State.QUEUED, limit=1)
    orders.apply(newer.id, a_claim(), NOW)

    assert _page(orders, state=State.QUEUED, limit=1, after=first.next).orders == [older]


FILTERS: list[tuple[OrderQuery, Callable[[Order], bool]]] = [
    (OrderQuery(), lambda order: True),
    (OrderQuery(account="acme"), lambda order: order.account == "acme"),
    (OrderQuery(states=frozenset({State.CLAIMED})), lambda order: order.state is State.CLAIMED),
    (OrderQuery(kind=OrderKind.EXPORT), lambda order: order.kind is OrderKind.EXPORT),
    (OrderQuery(lane="*/capacity"), lambda order: order.kind is OrderKind.CAPACITY),
    (
        OrderQuery("acme", frozenset({State.QUEUED, State.CLAIMED}), lane="local:*/capacity/tiny", oldest_first=True),
        lambda order: (order.account, order.kind) == ("acme", OrderKind.CAPACITY),
    ),
    (
        OrderQuery(account="acme", states=frozenset({State.QUEUED}), kind=OrderKind.TASK),
        lambda order: (order.account, order.state, order.kind) == ("acme", State.QUEUED, OrderKind.TASK),
    ),
    (OrderQuery(session_name="nightly"), lambda order: order.kind is OrderKind.SESSION),
    (OrderQuery(session_name="daily"), lambda order: False),
    (
        OrderQuery("acme", frozenset({State.QUEUED, State.CLAIMED}), session_name="nightly"),
        lambda order: (order.account, order.kind) == ("acme", OrderKind.SESSION),
    ),
]


@pytest.mark.parametrize(("query", "fits"), FILTERS)
def test_a_page_holds_only_what_was_asked_for(
    orders: OrderStore, query: OrderQuery, fits: Callable[[Order], bool]
) -> None:
    every = [
        stored(orders, an_order(spec, account, state=state))
        for spec in (TASK, EXPORT, CAPACITY, SESSION)
        for account in ("acme", "umbrella")
        for state in (State.QUEUED, State.CLAIMED)
    ]

    found = orders.page(query).orders

    assert {order.id for order in found} == {order.id for order in every if fits(order)}
    assert orders.count(query) == len(found)


def test_pages_lead_from_the_oldest_order_to_the_newest_if_requested(orders: OrderStore) -> None:
    older, twins = stored(orders, an_order(now=NOW - SOON)), [stored(orders), stored(orders)]
    first = orders.page(OrderQuery(oldest_first=True, limit=2))
    second = orders.page(OrderQuery(oldest_first=True, limit=2, after=first.next))

    assert [*first.orders, *second.orders] == [older, *sorted(twins, key=lambda order: order.id)]
    assert second.next is None


FORGED: Final = (
    "0001-01-01T00:00:00+14:00 abc",  # before the first moment of UTC
    "9999-12-31T23:59:59.999999-14:00 abc",  # after its last
    "2026-01-01T00:00:00+00:00 __a__",
    "2026-01-01T00:00:00+00:00 a/b",
    "2026-01-01T00:00:00 abc",
)


@pytest.mark.parametrize(
    "after",
    [
        *("", "nonsense", "bm9uc2Vuc2U=", "MjAyNi0wMS0wMSBpZA==", "ключ"),
        *(base64.urlsafe_b64encode(text.encode()).decode() for text in FORGED),
    ],
)
def test_a_page_mark_that_is_not_ours_is_invalid(orders: OrderStore, after: str) -> None:
    with pytest.raises(Invalid) as refused:
        _page(orders, after=after)
    assert set(refused.value.fields) == {"after"}


def _page(orders: OrderStore, *, state: State | None = None, limit: int = 50, after: str | None = None) -> OrderPage:
    return orders.page(OrderQuery(states=frozenset({state} if state else ()), limit=limit, after=after))
