"""Each port's adapters: what one suite of promises is run over."""

import pytest

from functions.adapters.firestore import FirestoreKeyStore, FirestoreOrderStore
from functions.adapters.memory import MemoryKeyStore, MemoryOrderStore
from functions.ports import KeyStore, OrderStore
from tests.later_version import InFirestore, InMemory, LaterVersion

MEMORY_AND_FIRESTORE = ["memory", pytest.param("firestore", marks=pytest.mark.emulator)]


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def orders(request: pytest.FixtureRequest) -> OrderStore:
    if request.param == "memory":
        return MemoryOrderStore()
    return FirestoreOrderStore(request.getfixturevalue("firestore_client"))


@pytest.fixture
def later(request: pytest.FixtureRequest, orders: OrderStore) -> LaterVersion:
    """Of the control plane whose store `orders` is."""
    if isinstance(orders, MemoryOrderStore):
        return InMemory()
    return InFirestore(request.getfixturevalue("firestore_client"))


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def api_keys(request: pytest.FixtureRequest) -> KeyStore:
    if request.param == "memory":
        return MemoryKeyStore()
    return FirestoreKeyStore(request.getfixturevalue("firestore_client"))
