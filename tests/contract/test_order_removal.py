"""The contract of every order store about the removal of orders and idempotency keys."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from functions.domain.events import Cancel
from functions.domain.order import Order
from functions.domain.refusals import Gone, KeyReused, NotFound, WrongState
from functions.ports.orders import OrderQuery, OrderStore
from tests.contract.conftest import stored
from tests.factories import NOW, a_claim, a_key, an_order
from tests.threads import at_once

SOON = timedelta(seconds=1)
UNKNOWN_IDS = [str(uuid4()), "__reserved__", "", ".", "..", "a/b", "a/b/c", "x" * 2000]


def test_a_removed_order_is_gone_and_its_removal_can_be_repeated(orders: OrderStore) -> None:
    ended, other = _ended(orders), _ended(orders)
    seen = orders.read(ended.id)

    orders.remove(ended.id)
    orders.remove(ended.id)

    with pytest.raises(NotFound):
        orders.get(ended.id)
    with pytest.raises(NotFound):
        orders.apply(ended.id, Cancel(str(uuid4())), NOW, seen=seen)
    assert orders.page(OrderQuery()).orders == [other]


@pytest.mark.parametrize("order_id", UNKNOWN_IDS)
def test_the_removal_of_an_unknown_order_succeeds(orders: OrderStore, order_id: str) -> None:
    orders.remove(order_id)


def test_an_order_that_has_not_ended_is_not_removed(orders: OrderStore) -> None:
    waiting = stored(orders)
    held = orders.apply(stored(orders).id, a_claim(), NOW)

    for order in (waiting, held):
        with pytest.raises(WrongState) as refused:
            orders.remove(order.id)
        assert refused.value.state is order.state
        assert orders.get(order.id) == order


def test_the_key_of_a_removed_order_stands_for_nothing_else(orders: OrderStore) -> None:
    ended, again = _ended(orders, "key"), an_order()
    orders.remove(ended.id)

    with pytest.raises(Gone):
        orders.create(again, a_key(again, "key"))
    with pytest.raises(KeyReused):
        orders.create(again, a_key(again, "key", fingerprint="1" * 64))
    with pytest.raises(NotFound):
        orders.get(again.id)


def test_a_forgotten_key_may_be_used_again_and_its_order_stays(orders: OrderStore) -> None:
    first, again = an_order(now=NOW - SOON), an_order()
    orders.create(first, a_key(first, "key"))

    assert orders.forget_keys(NOW, limit=10) == 1
    assert orders.get(first.id) == first
    assert orders.create(again, a_key(again, "key")).order == again


def test_only_keys_used_before_that_time_are_forgotten(orders: OrderStore) -> None:
    order = an_order()
    orders.create(order, a_key(order, "key"))

    assert orders.forget_keys(NOW, limit=10) == 0
    assert orders.create(an_order(), a_key(order, "key")).order == order


def test_keys_are_forgotten_some_at_a_time(orders: OrderStore) -> None:
    for _ in range(5):
        stored(orders, an_order(now=NOW - SOON))

    assert [orders.forget_keys(NOW, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_forgetting_keys_twice_at_once_does_no_harm(orders: OrderStore) -> None:
    for _ in range(20):
        stored(orders, an_order(now=NOW - SOON))

    answers = at_once([partial(orders.forget_keys, NOW, 10)] * 4)

    assert all(isinstance(answer, int) for answer in answers)
    orders.forget_keys(NOW, limit=100)
    assert orders.forget_keys(NOW, limit=100) == 0


def _ended(orders: OrderStore, key: str | None = None) -> Order:
    """A stored order that was cancelled before anybody took it."""
    order = an_order()
    orders.create(order, a_key(order, key))
    return orders.apply(order.id, Cancel(str(uuid4())), NOW)


def test_a_lasting_key_is_kept_until_the_order_that_it_is_removed_with(orders: OrderStore) -> None:
    dead, successor = _ended(orders), an_order()
    key = replace(a_key(successor, "requeue\nit"), lasting=True)
    orders.create(successor, key)
    orders.apply(successor.id, Cancel(str(uuid4())), NOW)
    orders.remove(successor.id)

    assert orders.forget_keys(NOW + timedelta(days=365), limit=10) == 1
    with pytest.raises(Gone):
        orders.create(successor, key)
    orders.remove(dead.id, "requeue\nit")
    assert orders.create(successor, key).order == successor
