"""API keys in this process's memory, for tests and for a local stack without emulators."""

from dataclasses import replace

from functions.domain.access import ApiKey
from functions.domain.refusals import OtherVersion


class MemoryKeyStore:
    """Keys whose digests are in `unreadable` are treated as if another version stored them, for tests."""

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._keys: dict[str, ApiKey] = {}

    def find(self, key_digest: str) -> ApiKey | None:
        if key_digest in self.unreadable:
            raise OtherVersion("The key was stored by another version; send the same request again.")
        return self._keys.get(key_digest)

    def add(self, key: ApiKey) -> None:
        self._keys[key.digest] = key

    def mark_used(self, key_digest: str) -> None:
        if (key := self._keys.get(key_digest)) is not None:
            self._keys[key_digest] = replace(key, unused=False)

    def remove(self, key_digest: str) -> None:
        self._keys.pop(key_digest, None)
