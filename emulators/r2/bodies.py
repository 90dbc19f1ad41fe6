"""Checks how a body was sent, its size and its checksums, as R2 does (https://developers.cloudflare.com/r2/api/s3/api/).

R2 does not read `aws-chunked` bodies, which boto3 and other SDKs send over HTTPS unless they are told not to.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from emulators.r2.request import NotAllowed, ReceivedRequest

MAX_UPLOAD: Final = 5 << 30
"""The number of bytes of one PUT: of an object, or of a part of one."""
MAX_DOCUMENT: Final = 8 << 20
"""The number of bytes of any other body. 10,000 parts with their checksums are 3 MB of XML."""
PAYLOAD: Final = "x-amz-content-sha256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"


class Hash(Protocol):
    def update(self, chunk: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, chunk: bytes, /) -> None:
        self._value = zlib.crc32(chunk, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


CHECKSUM: Final = "x-amz-checksum-sha256"
CHECKSUMS: Final[Mapping[str, Callable[[], Hash]]] = {
    "content-md5": lambda: hashlib.md5(usedforsecurity=False),
    "x-amz-checksum-crc32": _Crc32,
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    CHECKSUM: hashlib.sha256,
}
NOT_COMPUTED: Final = frozenset({"x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme"})


class Digests:
    """Computes the SHA-256 of a body, and every other digest that the headers declare."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._hashes = {name: make() for name, make in CHECKSUMS.items() if name in headers or name == CHECKSUM}

    def update(self, chunk: bytes) -> None:
        for each in self._hashes.values():
            each.update(chunk)

    def by_header(self) -> dict[str, bytes]:
        """Return the digests by the header that declares them."""
        return {name: each.digest() for name, each in self._hashes.items()}


def require_size(method: str, size: int) -> None:
    """Raise NotAllowed if a body of `size` bytes is too long for the method."""
    if method == "PUT" and size > MAX_UPLOAD:
        raise NotAllowed(400, "EntityTooLarge", "One PUT takes up to 5 GiB. Upload a longer object in parts.")
    if method != "PUT" and size > MAX_DOCUMENT:
        raise NotAllowed(400, "MaxMessageLengthExceeded", "The body is longer than any document of this API.")


def check_framing(headers: Mapping[str, str]) -> None:
    """Raise NotAllowed if the body was sent in a way that R2 does not read."""
    chunked = "aws-chunked" in headers.get("content-encoding", "").lower()
    if chunked or headers.get(PAYLOAD, "").startswith("STREAMING-") or "x-amz-trailer" in headers:
        message = 'R2 takes no aws-chunked bodies: set the client\'s request_checksum_calculation to "when_required".'
        raise NotAllowed(501, "NotImplemented", message)
    if unknown := NOT_COMPUTED & headers.keys():
        message = f"This server cannot check {', '.join(sorted(unknown))}. Send x-amz-checksum-sha256 instead."
        raise NotAllowed(501, "NotImplemented", message)
    if "transfer-encoding" in headers:
        raise NotAllowed(411, "MissingContentLength", "Send the body's length in the Content-Length header.")


def check_body(request: ReceivedRequest) -> None:
    """Compare the body with what the headers say of it. Raises NotAllowed."""
    if request.headers.get("content-length", "0") != str(request.size):
        raise NotAllowed(400, "IncompleteBody", "The body does not have the length of the Content-Length header.")
    if request.headers.get(PAYLOAD, UNSIGNED) not in (UNSIGNED, request.digests[CHECKSUM].hex()):
        message = f"The body's SHA-256 is not the one in the {PAYLOAD} header."
        raise NotAllowed(400, "XAmzContentSHA256Mismatch", message)
    if request.method == "POST" and "uploadId" in request.parameters:
        return  # the checksums are those of the object that the parts make
    for name, digest in request.digests.items():
        encoded = base64.b64encode(digest).decode()
        if request.headers.get(name, encoded) != encoded:
            raise NotAllowed(400, "BadDigest", f"The body does not have the checksum in the {name} header.")
