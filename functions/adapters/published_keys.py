"""Public keys that a signer publishes (RFC 7517), fetched when they are needed and remembered for an hour."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import jwt

from functions.domain.refusals import Unavailable

REMEMBERED: Final = 3600.0
"""Seconds for which a list is taken as it was."""
LOOK_AGAIN: Final = 30.0
"""Seconds from one look to the next for a key that the list has not: anybody can make up a key's name."""
TRY_AGAIN: Final = 2.0
"""Seconds from a look that failed to the next: callers must not all wait for a signer that is away."""


class PublishedKeys:
    """Keys by their id. Safe to use from several threads: one looks, the others wait for what it finds."""

    def __init__(self, http: httpx.Client, url: str, timer: Callable[[], float] = time.monotonic) -> None:
        self._http, self._url, self._timer = http, url, timer
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._fetched: float | None = None
        self._failed: float | None = None

    def find(self, key_id: str) -> Any | None:
        """Return the key, as PyJWT takes it, or None if the signer publishes no key of this id. Raises Unavailable."""
        with self._lock:
            if not self._since(self._fetched) < (REMEMBERED if key_id in self._keys else LOOK_AGAIN):
                self._fetch()
            return self._keys.get(key_id)

    def _since(self, then: float | None) -> float:
        return float("inf") if then is None else self._timer() - then

    def _fetch(self) -> None:
        if self._since(self._failed) < TRY_AGAIN:
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
        raise ValueError("no list of keys")
    listed = [key for key in document["keys"] if isinstance(key, dict)]
    return {key.key_id: key.key for key in jwt.PyJWKSet(listed).keys if isinstance(key.key_id, str)}
