"""Writes into the store what a later version of the control plane would: documents that this version cannot read."""

import hashlib
from typing import Any, Protocol

from google.cloud.firestore import Client

from functions.adapters.firestore import ORDERS
from functions.adapters.firestore_keys import API_KEYS
from functions.adapters.memory import MemoryOrderStore
from functions.adapters.memory_keys import MemoryKeyStore
from functions.adapters.memory_records import MemoryRecords
from functions.ports.keys import KeyStore
from functions.ports.orders import OrderStore
from functions.ports.records import Records

LATER: Any = {"a later": "version's"}
"""The later value of a field that holds a text now."""


class LaterVersion(Protocol):
    """Rewrites what is stored in the form of a later version."""

    def order(self, orders: OrderStore, order_id: str) -> None: ...

    def record(self, records: Records[Any], collection: str, id_: str, field: str) -> None: ...

    def key(self, keys: KeyStore, digest: str) -> None: ...


class InMemory:
    def order(self, orders: OrderStore, order_id: str) -> None:
        assert isinstance(orders, MemoryOrderStore)
        orders.unreadable.add(order_id)

    def record(self, records: Records[Any], collection: str, id_: str, field: str) -> None:
        assert isinstance(records, MemoryRecords)
        records.unreadable.add(id_)

    def key(self, keys: KeyStore, digest: str) -> None:
        assert isinstance(keys, MemoryKeyStore)
        keys.unreadable.add(digest)


class InFirestore:
    def __init__(self, client: Client) -> None:
        self._client = client

    def order(self, orders: OrderStore, order_id: str) -> None:
        self._client.collection(ORDERS).document(order_id).update({"reason": "a_reason_of_later"})

    def record(self, records: Records[Any], collection: str, id_: str, field: str) -> None:
        name = hashlib.sha256(id_.encode()).hexdigest()
        self._client.collection(collection).document(name).update({field: LATER})

    def key(self, keys: KeyStore, digest: str) -> None:
        self._client.collection(API_KEYS).document(digest).update({"role": "a_role_of_later"})
