"""Fetches the public keys that a signer publishes (RFC 7517) when they are needed, and keeps them for an hour."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import jwt

from functions.domain.refusals import Unavailable

KEY_TTL: Final = 3600.0
"""Seconds for which a fetched list is used."""
FETCH_INTERVAL: Final = 30.0
"""Seconds between two fetches for a key that is not in the list: anyone can invent a key's name."""
RETRY_DELAY: Final = 2.0
"""Seconds between a failed fetch and the next: callers must not all wait for a signer that does not answer."""


class PublishedKeys:
    """Finds keys by id. Several threads may share it: one of them fetches, and the others wait for its result."""

    def __init__(self, http: httpx.Client, url: str, timer: Callable[[], float] = time.monotonic) -> None:
        self._http, self._url, self._timer = http, url, timer
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._fetched: float | None = None
        self._failed: float | None = None

    def find(self, key_id: str) -> Any | None:
        """Return the key for PyJWT; None if the signer publishes no key with this id. Raises Unavailable."""
        with self._lock:
            if not self._since(self._fetched) < (KEY_TTL if key_id in self._keys else FETCH_INTERVAL):
                self._fetch()
            return self._keys.get(key_id)

    def _since(self, then: float | None) -> float:
        return float("inf") if then is None else self._timer() - then

    def _fetch(self) -> None:
        if self._since(self._failed) < RETRY_DELAY:
            raise Unavailable("The signer's keys could not be fetched a moment ago.")
        try:
            self._keys = _read(self._http.get(self._url))
        except (httpx.HTTPError, jwt.PyJWTError, ValueError) as error:
            self._failed = self._timer()
            raise Unavailable(f"The signer's keys cannot be fetched: {type(error).__name__}.") from error
        self._fetched = self._timer()


def _read(answer: httpx.Response) -> Mapping[str, Any]:
    """Raises httpx.HTTPStatusError, ValueError, PyJWTError."""
    answer.raise_for_status()
    document = answer.json()
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("it is not a list of keys")
    listed = [key for key in document["keys"] if isinstance(key, dict)]
    return {key.key_id: key.key for key in jwt.PyJWKSet(listed).keys if isinstance(key.key_id, str)}
