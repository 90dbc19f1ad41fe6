"""A request as it was received, the object that it names, and the refusal of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote

HOST_SUFFIX: Final = ".r2.cloudflarestorage.com"


class NotAllowed(Exception):
    """R2 would refuse the request, with this status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as it was received: undecoded target, header names in lower case, size of the body in bytes.

    `digests` are the body's, by the header that declares them: its SHA-256, and all others that the client declared.
    `document` is the body of a POST, which is an XML document.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    size: int
    digests: Mapping[str, bytes]
    document: bytes = b""

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The decoded parameters of the query."""
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def path_style(self) -> str:
        """The target with the bucket in its path.

        R2 serves `<account>.r2.cloudflarestorage.com/<bucket>/<key>`, and `<bucket>.<account>.…/<key>`, too
        (https://developers.cloudflare.com/r2/api/s3/api/).
        """
        host = self.headers["host"].lower().partition(":")[0]
        if not host.endswith(HOST_SUFFIX):
            return self.target
        bucket, in_host, _ = host.removesuffix(HOST_SUFFIX).rpartition(".")
        return f"/{bucket}{self.target}" if in_host else self.target

    @property
    def address(self) -> tuple[str, str]:
        """The bucket and the key that the request names. Either may be empty."""
        bucket, _, key = self.path_style.partition("?")[0].removeprefix("/").partition("/")
        return unquote(bucket), unquote(key)
