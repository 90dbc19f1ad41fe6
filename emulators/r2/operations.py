"""Names the S3 operation of a request, and what it reaches (https://docs.aws.amazon.com/AmazonS3/latest/API/)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from emulators.r2.documents import keys_to_delete
from emulators.r2.request import ReceivedRequest

ORDINARY: Final = re.compile(
    r"continuation-token|delimiter|encoding-type|fetch-owner|key-marker|marker|max-keys|max-parts|max-uploads|"
    r"part-number-marker|prefix|start-after|upload-id-marker|versionId|x-id|response-.*|x-amz-.*",
    re.IGNORECASE,
)
"""The query parameters that make no other operation of a request."""
COPY_SOURCE: Final = "x-amz-copy-source"
OF_OBJECTS: Final[Mapping[tuple[str, str], str]] = {
    ("GET", ""): "GetObject",
    ("GET", "partNumber"): "GetObject",
    ("GET", "uploadId"): "ListParts",
    ("HEAD", ""): "HeadObject",
    ("HEAD", "partNumber"): "HeadObject",
    ("PUT", ""): "PutObject",
    ("PUT", "partNumber uploadId"): "UploadPart",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", ""): "DeleteObject",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
OF_BUCKETS: Final[Mapping[tuple[str, str], str]] = {
    ("GET", ""): "ListObjects",
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "uploads"): "ListMultipartUploads",
    ("HEAD", ""): "HeadBucket",
    ("PUT", ""): "CreateBucket",
    ("DELETE", ""): "DeleteBucket",
    ("POST", "delete"): "DeleteObjects",
}
OF_COPIES: Final[Mapping[str, str]] = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
LISTINGS: Final = frozenset({"ListObjects", "ListObjectsV2", "ListMultipartUploads"})


@dataclass(frozen=True, slots=True)
class Operation:
    """S3's name of the request, if it is one of this module's, and the objects and listed prefixes that it reaches."""

    name: str | None
    bucket: str
    objects: frozenset[tuple[str, str]] = frozenset()
    """Buckets and keys."""
    prefixes: frozenset[str] = frozenset()


def operation_of(request: ReceivedRequest) -> Operation:
    """Return the operation. Raises NotAllowed if it needs the body, and the body is malformed."""
    bucket, key = request.address
    query = request.parameters
    asked = request.method, " ".join(sorted(name for name in query if not ORDINARY.fullmatch(name)))
    if not key:
        name = OF_BUCKETS.get(asked) if bucket else None
        deleted = keys_to_delete(request.document) if name == "DeleteObjects" else []
        prefixes = frozenset(query.get("prefix", [""])) if name in LISTINGS else frozenset()
        return Operation(name, bucket, frozenset((bucket, each) for each in deleted), prefixes)
    name = OF_OBJECTS.get(asked)
    source = request.headers.get(COPY_SOURCE)
    if source is None:
        return Operation(name, bucket, frozenset({(bucket, key)}))
    copied = unquote(source.partition("?")[0]).removeprefix("/").partition("/")
    return Operation(OF_COPIES.get(name or ""), bucket, frozenset({(bucket, key), (copied[0], copied[2])}))
