"""An output bucket in memory."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final
from urllib.parse import quote

from functions.domain.multipart import MIB, Part, PartLimits
from functions.domain.refusals import Forbidden, NotFound
from functions.ports.outputs import PresignedUpload, StoredObject, UploadedPart, UploadTerms

LIMITS: Final = PartLimits(single=8 * MIB, smallest=5 * MIB)


@dataclass
class OpenUpload:
    """An upload in parts: the bytes of each part that is there, by number."""

    terms: UploadTerms
    parts: dict[int, bytes] = field(default_factory=dict)


CHUNK: Final = 4
"""So small that a download has several."""


class MemoryBucket:
    """Objects in a dictionary. `put` and `fetch` take its URLs, in place of the network."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC), limits: PartLimits = LIMITS) -> None:
        self._clock = clock
        self.part_uploads = MemoryPartUploads(clock, limits, self._store)
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

    def copy(self, source: str, target: str, content_type: str) -> int | None:
        if source not in self._objects:
            return None
        body, _ = self._objects[source]
        self._objects[target] = (body, StoredObject(len(body), None, _etag(body)))
        return len(body)

    def delete_below(self, prefix: str) -> None:
        for key in self.keys(prefix):
            del self._objects[key]

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._objects if key.startswith(prefix))

    def store(self, key: str, body: bytes) -> None:
        """Upload with credentials of the bucket, as an image does."""
        self._objects[key] = (body, StoredObject(len(body), None, _etag(body)))

    def put(self, upload: PresignedUpload, body: bytes) -> bool:
        """Upload as a client would; return False if the terms do not allow these bytes, or have expired."""
        if upload.url not in self._uploads:
            return self.part_uploads.put(upload, body)
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

    def _store(self, key: str, body: bytes, sha256: str) -> None:
        self._objects[key] = (body, StoredObject(len(body), sha256, _etag(body)))


class MemoryPartUploads:
    """Parts in a dictionary. Completing one stores the object with the declared SHA-256, as S3 and R2 do."""

    def __init__(
        self, clock: Callable[[], datetime], limits: PartLimits, store: Callable[[str, bytes, str], None]
    ) -> None:
        self._clock, self.limits, self._store = clock, limits, store
        self._ids = count(1)
        self._open: dict[tuple[str, str], OpenUpload] = {}
        self._granted: dict[str, tuple[str, str, Part, datetime]] = {}

    def begin(self, terms: UploadTerms) -> str:
        upload_id = f"upload-{next(self._ids)}"
        self._open[terms.key, upload_id] = OpenUpload(terms)
        return upload_id

    def find(self, key: str, upload_id: str) -> Mapping[int, UploadedPart] | None:
        found = self._open.get((key, upload_id))
        if found is None:
            return None
        return {number: UploadedPart(len(body), _etag(body)) for number, body in found.parts.items()}

    def presign(self, key: str, upload_id: str, part: Part, valid: timedelta) -> PresignedUpload:
        until = self._clock() + valid
        url = f"memory://bucket/{quote(key)}?upload={upload_id}&part={part.number}&until={quote(until.isoformat())}"
        self._granted[url] = (key, upload_id, part, until)
        return PresignedUpload(url, {"content-length": str(part.size)})

    def complete(self, key: str, upload_id: str, parts: Mapping[int, UploadedPart]) -> None:
        found = self._open.pop((key, upload_id), None)
        if found is not None:
            body = b"".join(found.parts[number] for number in sorted(parts))
            self._store(key, body, found.terms.sha256)

    def abort(self, key: str) -> None:
        for found, upload_id in list(self._open):
            if found == key or found.startswith(f"{key}/"):
                del self._open[found, upload_id]

    def put(self, upload: PresignedUpload, body: bytes) -> bool:
        """Upload a part as a client would; return False if there is no such grant, or it has ended."""
        if upload.url not in self._granted:
            return False
        key, upload_id, part, until = self._granted[upload.url]
        found = self._open.get((key, upload_id))
        if found is None or len(body) != part.size or self._clock() > until:
            return False
        found.parts[part.number] = body
        return True

    def open_uploads(self) -> list[str]:
        """Return the keys of the open uploads, sorted."""
        return sorted(key for key, _ in self._open)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
