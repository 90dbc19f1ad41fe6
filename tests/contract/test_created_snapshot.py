"""`OrderStore.create` returns the version that it wrote, so that the next change needs no read."""

from dataclasses import replace

import pytest
from google.cloud.firestore import Client, DocumentReference

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.memory import MemoryOrderStore
from functions.domain.events import Ring
from functions.domain.refusals import Gone, KeyReused
from functions.ports.orders import OrderStore
from shared.domain.order import State
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.factories import NOW, a_claim, a_key, an_order


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def orders(request: pytest.FixtureRequest) -> OrderStore:
    if request.param == "memory":
        return MemoryOrderStore()
    return FirestoreOrderStore(request.getfixturevalue("firestore_client"))


def test_a_create_returns_the_order_as_it_can_be_looked_up(orders: OrderStore) -> None:
    order = an_order()
    assert orders.create(order, a_key(order)) == orders.read(order.id)


def test_the_same_create_again_returns_the_order_as_it_is_now(orders: OrderStore) -> None:
    order = an_order()
    orders.create(order, a_key(order, "key"))
    orders.apply(order.id, a_claim(), NOW)

    assert orders.create(replace(an_order(), id="another"), a_key(order, "key")) == orders.read(order.id)


def test_the_order_of_a_key_is_found_as_it_is_now(orders: OrderStore) -> None:
    order = an_order()
    key = a_key(order, "key")
    assert orders.created_with(key) is None
    orders.create(order, key)
    orders.apply(order.id, a_claim(), NOW)

    assert orders.created_with(key) == orders.read(order.id)
    assert orders.created_with(replace(key, account="globex")) is None


def test_a_key_of_another_request_or_of_a_removed_order_is_told_apart(orders: OrderStore) -> None:
    order = an_order(state=State.FAILED, due_at=None)
    key = a_key(order, "key")
    orders.create(order, key)

    with pytest.raises(KeyReused):
        orders.created_with(replace(key, fingerprint="1" * 64))
    orders.remove(order.id)
    with pytest.raises(Gone):
        orders.created_with(key)


@pytest.mark.emulator
def test_an_order_that_was_just_created_is_changed_without_a_read(
    firestore_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, order = FirestoreOrderStore(firestore_client), an_order()
    seen = store.create(order, a_key(order))

    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("The order was read.")

    with monkeypatch.context() as patched:
        patched.setattr(DocumentReference, "get", unexpected)
        rung = store.apply(order.id, Ring("ring"), NOW, seen)

    assert store.get(order.id) == rung
