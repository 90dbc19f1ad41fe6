"""`OrderStore.create` returns the version that it wrote, so that the next change needs no read."""

from dataclasses import replace

import pytest
from google.cloud.firestore import Client, DocumentReference

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.memory import MemoryOrderStore
from functions.domain.events import Ring
from functions.ports import OrderStore
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.factories import NOW, a_claim, a_key, an_order


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def orders(request: pytest.FixtureRequest) -> OrderStore:
    if request.param == "memory":
        return MemoryOrderStore()
    return FirestoreOrderStore(request.getfixturevalue("firestore_client"))


def test_a_create_returns_the_order_as_it_can_be_looked_up(orders: OrderStore) -> None:
    order = an_order()
    assert orders.create(order, a_key(order)) == orders.look(order.id)


def test_the_same_create_again_returns_the_order_as_it_is_now(orders: OrderStore) -> None:
    order = an_order()
    orders.create(order, a_key(order, "key"))
    orders.apply(order.id, a_claim(), NOW)

    assert orders.create(replace(an_order(), id="another"), a_key(order, "key")) == orders.look(order.id)


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
