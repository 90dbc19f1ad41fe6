"""The adapters of each port: one suite of promises runs over all of them."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from emulators.processes import stop
from emulators.s3_backend import MotoBackend, a_backend, start_moto
from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.firestore_keys import FirestoreKeyStore
from functions.adapters.memory import MemoryOrderStore
from functions.adapters.memory_keys import MemoryKeyStore
from functions.domain.order import Order
from functions.ports.keys import KeyStore
from functions.ports.orders import OrderStore
from tests.contract.bucket_rigs import gcs, memory, rig, s3
from tests.factories import a_key, an_order
from tests.later_version import InFirestore, InMemory, LaterVersion

__all__ = ["gcs", "memory", "rig", "s3"]

MEMORY_AND_FIRESTORE = ["memory", pytest.param("firestore", marks=pytest.mark.emulator)]


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def orders(request: pytest.FixtureRequest) -> OrderStore:
    if request.param == "memory":
        return MemoryOrderStore()
    return FirestoreOrderStore(request.getfixturevalue("firestore_client"))


@pytest.fixture
def later(request: pytest.FixtureRequest, orders: OrderStore) -> LaterVersion:
    """A later version of the control plane, on the same store as `orders`."""
    if isinstance(orders, MemoryOrderStore):
        return InMemory()
    return InFirestore(request.getfixturevalue("firestore_client"))


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def api_keys(request: pytest.FixtureRequest) -> KeyStore:
    if request.param == "memory":
        return MemoryKeyStore()
    return FirestoreKeyStore(request.getfixturevalue("firestore_client"))


@pytest.fixture(scope="module")
def moto_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moto")


@pytest.fixture(scope="module")
def moto(moto_logs: Path) -> Iterator[MotoBackend]:
    """A moto server that the module's tests share."""
    backend = a_backend()
    server = start_moto(backend, moto_logs)
    yield backend
    stop(server)


@pytest.fixture
def bucket_name() -> str:
    return f"outputs-{uuid4()}"


def stored(orders: OrderStore, order: Order | None = None) -> Order:
    """Store an order, this one if there is one, and return it."""
    order = order or an_order()
    return orders.create(order, a_key(order)).order
