"""The ports of the bucket with the outputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from functions.domain.multipart import Part, PartLimits


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """One PUT to one key. The uploader must send exactly these headers."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UploadTerms:
    """The terms of a presigned upload: its key, its size in bytes, and its SHA-256 (lower-case hex)."""

    key: str
    content_type: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`sha256` is lower-case hex, or None if the object was not uploaded by one of our URLs. `etag` is its entity tag,
    with quotes: another one if the object was replaced.
    """

    size: int
    sha256: str | None
    etag: str = field(default='""', compare=False)


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """A part that the bucket holds. `etag` names these bytes when the parts are joined."""

    size: int
    etag: str


class PartUploads(Protocol):
    """Uploads of one object in several parts. Every method but `presign` raises Unavailable."""

    @property
    def limits(self) -> PartLimits: ...

    def begin(self, terms: UploadTerms) -> str:
        """Begin an upload on these terms, and return its id. The bucket keeps its parts until it is completed or
        aborted.
        """

    def find(self, key: str, upload_id: str) -> Mapping[int, UploadedPart] | None:
        """Return the parts that are there, by number; None if this upload is not open."""

    def presign(self, key: str, upload_id: str, part: Part, valid: timedelta) -> PresignedUpload:
        """Return a presigned upload of exactly the part's number of bytes."""

    def complete(self, key: str, upload_id: str, parts: Mapping[int, UploadedPart]) -> None:
        """Join the parts to the object. Do nothing if this upload is not open."""

    def abort(self, key: str) -> None:
        """Remove every open upload of this key, and of keys below it (`<key>/…`), with its parts."""


class OutputBucket(Protocol):
    """Stores outputs. Their bytes pass through the control plane only for clients that cannot use a presigned URL."""

    @property
    def part_uploads(self) -> PartUploads | None:
        """Uploads of what is too large for one request; None if one request may upload any output."""

    def presign_upload(self, terms: UploadTerms, valid: timedelta) -> PresignedUpload: ...

    def presign_download(self, key: str, file_name: str, valid: timedelta) -> str:
        """Return a URL that downloads the object as an attachment named `file_name`."""

    def stat(self, key: str) -> StoredObject | None:
        """Return the object's size and digest; None if there is none. Raises Unavailable."""

    def read(self, key: str, first: int, last: int) -> Iterator[bytes]:
        """Return the object's bytes from `first` to `last`, which must exist.

        Raises NotFound and Unavailable before it returns any.
        """

    def copy(self, source: str, target: str, content_type: str) -> int | None:
        """Copy the object's bytes to the key `target`, and return their number; None if there is no such object.

        Of what the object's uploader said of it, such as its type, the copy has nothing. Raises Unavailable.
        """

    def delete_below(self, prefix: str) -> None:
        """Remove every object whose key begins with the prefix. Raises Unavailable."""
