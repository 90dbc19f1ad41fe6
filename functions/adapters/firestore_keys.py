"""API keys in Firestore."""

from contextlib import suppress
from dataclasses import asdict
from typing import Final

from google.api_core.exceptions import NotFound as NoDocument
from google.cloud.firestore import Client
from pydantic import TypeAdapter

from functions.adapters.firestore_calls import ONCE, persistently
from functions.adapters.reading import read_one
from functions.domain.access import ApiKey

API_KEYS: Final = "api_keys"
API_KEY: Final = TypeAdapter(ApiKey)


class FirestoreKeyStore:
    """Stores one document for each key, named by the key's digest."""

    def __init__(self, client: Client) -> None:
        self._keys = client.collection(API_KEYS)

    @persistently
    def find(self, key_digest: str) -> ApiKey | None:
        document = self._keys.document(key_digest).get(**ONCE)
        return read_one(document, API_KEY) if document.exists else None

    @persistently
    def add(self, key: ApiKey) -> None:
        self._keys.document(key.digest).set(asdict(key), **ONCE)

    @persistently
    def mark_used(self, key_digest: str) -> None:
        with suppress(NoDocument):  # an update, unlike `add`, does not bring back a key that was removed meanwhile
            self._keys.document(key_digest).update({"unused": False}, **ONCE)

    @persistently
    def remove(self, key_digest: str) -> None:
        self._keys.document(key_digest).delete(**ONCE)
