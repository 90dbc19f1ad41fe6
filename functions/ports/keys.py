"""The port of the API keys."""

from typing import Protocol

from functions.domain.access import ApiKey


class KeyStore(Protocol):
    """Stores API keys by their digest."""

    def find(self, key_digest: str) -> ApiKey | None:
        """Return the key, or None. Raises OtherVersion if it exists, but this version cannot read it."""

    def add(self, key: ApiKey) -> None:
        """Store a key. A repeat with the same key changes nothing."""

    def mark_used(self, key_digest: str) -> None:
        """Record that a key was used (`ApiKey.unused`). Do nothing if there is none."""

    def remove(self, key_digest: str) -> None:
        """Remove a key. Do nothing if there is none."""
