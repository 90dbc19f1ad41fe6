"""An output bucket in memory."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from functions.domain.refusals import Forbidden, NotFound
from functions.ports import PresignedUpload, StoredObject, UploadTerms

CHUNK: Final = 4
"""So small that a download has several."""


class MemoryBucket:
    """Objects in a dictionary. `put` and `fetch` take its URLs, in place of the network."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, StoredObject]] = {}
        self._uploads: dict[str, tuple[UploadTerms, datetime]] = {}
        self._downloads: dict[str, tuple[str, datetime]] = {}

    def presign_upload(self, terms: UploadTerms, valid: timedelta) -> PresignedUpload:
        until = self._clock() + valid
        url = f"memory://bucket/{quote(terms.key)}?until={quote(until.isoformat())}&sha256={terms.sha256}"
        self._uploads[url] = (terms, until)
        return PresignedUpload(url, {"content-type": terms.content_type, "content-length": str(terms.size)})

    def presign_download(self, key: str, file_name: str, valid: timedelta) -> str:
        until = self._clock() + valid
        url = f"memory://bucket/{quote(key)}?until={quote(until.isoformat())}&filename={quote(file_name)}"
        self._downloads[url] = (key, until)
        return url

    def stat(self, key: str) -> StoredObject | None:
        stored = self._objects.get(key)
        return stored and stored[1]

    def read(self, key: str, first: int, last: int) -> Iterator[bytes]:
        if key not in self._objects:
            raise NotFound(f"There is no object {key}.")
        body = self._objects[key][0][first : last + 1]
        return (body[at : at + CHUNK] for at in range(0, len(body), CHUNK))

    def delete(self, key: str) -> None:
        self._objects.pop(key, None)

    def delete_below(self, prefix: str) -> None:
        for key in self.keys(prefix):
            self.delete(key)

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._objects if key.startswith(prefix))

    def store(self, key: str, body: bytes) -> None:
        """Upload with credentials of the bucket, as an image does."""
        self._objects[key] = (body, StoredObject(len(body), None, _etag(body)))

    def put(self, upload: PresignedUpload, body: bytes) -> bool:
        """Upload as a client would; return False if the terms do not allow these bytes, or have expired."""
        if upload.url not in self._uploads:
            return False
        terms, until = self._uploads[upload.url]
        sha256 = hashlib.sha256(body).hexdigest()
        if (len(body), sha256) != (terms.size, terms.sha256) or self._clock() > until:
            return False
        self._objects[terms.key] = (body, StoredObject(len(body), sha256, _etag(body)))
        return True

    def fetch(self, url: str) -> bytes:
        """Download as a client would. Raises Forbidden if the URL is not a presigned one or has expired; NotFound."""
        key, until = self._downloads.get(url, ("", datetime.min.replace(tzinfo=UTC)))
        if self._clock() > until:
            raise Forbidden("This URL allows no download, or has expired.")
        if key not in self._objects:
            raise NotFound(f"There is no object {key}.")
        return self._objects[key][0]


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'
