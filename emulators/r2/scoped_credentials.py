"""Checks R2's temporary credentials, which the holder of a parent's secret signs locally.

The session token is base64 of `jwt/` and a JWT, which the parent's secret access key signs (HS256). The secret access
key is the SHA-256 of the JWT in hex, and the access key id is the parent's own
(https://developers.cloudflare.com/r2/examples/authenticate-r2-temp-credentials/).

Some workers know no session token. For them this server takes a second form: the access key id is `tmp_` and the JWT,
the secret is the same, and there is no token. R2 itself does not take it; it is for trying such workers on the local
stack with credentials that are scoped.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import jwt
from botocore.credentials import Credentials
from jwt.types import Options
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from emulators.r2.operations import Operation
from emulators.r2.request import NotAllowed

PREFIX_OF_TOKEN: Final = b"jwt/"
PREFIX_OF_ACCESS_KEY: Final = "tmp_"
READS: Final = frozenset(
    {
        "GetBucketLocation",
        "GetObject",
        "HeadBucket",
        "HeadObject",
        "ListMultipartUploads",
        "ListObjects",
        "ListObjectsV2",
        "ListParts",
    }
)
WRITES: Final = frozenset(
    {
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateMultipartUpload",
        "DeleteObject",
        "DeleteObjects",
        "PutObject",
        "UploadPart",
        "UploadPartCopy",
    }
)
SCOPES: Final = {
    "object-read-only": READS,
    "object-read-write": READS | WRITES,
    "admin-read-only": READS,
    "admin-read-write": READS | WRITES | {"CreateBucket", "DeleteBucket"},
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a credential may do: these operations in one bucket. If `prefixes` is None, with every key of it."""

    bucket: str
    operations: frozenset[str]
    prefixes: tuple[str, ...] | None
    objects: frozenset[str]

    def allows(self, operation: Operation) -> bool:
        """Return whether the operation and everything that it reaches is within the scope."""
        return (
            operation.name in self.operations
            and operation.bucket == self.bucket
            and all(bucket == self.bucket and self._has(key) for bucket, key in operation.objects)
            and all(self._has_prefix(prefix) for prefix in operation.prefixes)
        )

    def _has(self, key: str) -> bool:
        return key in self.objects or self._has_prefix(key)

    def _has_prefix(self, prefix: str) -> bool:
        return self.prefixes is None or prefix.startswith(self.prefixes)


class _Paths(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    prefix_paths: tuple[str, ...] = ()
    object_paths: frozenset[str] = frozenset()


class _Claims(BaseModel):
    bucket: str
    scope: Literal["object-read-only", "object-read-write", "admin-read-only", "admin-read-write"]
    actions: frozenset[str] | None = None
    paths: _Paths | None = None
    sub: str
    aud: str
    iat: int
    exp: int


CLAIMS: Final = TypeAdapter(_Claims)
NO_TIMES: Final[Options] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
"""The library compares times with its own clock, and the audience with one that is configured."""


def credentials_of(
    access_key: str, session_token: str | None, parent: Credentials, now: datetime
) -> tuple[Credentials, Scope | None]:
    """Return what the request must be signed with, and its scope: None for the parent's own key. Raises NotAllowed."""
    if access_key.startswith(PREFIX_OF_ACCESS_KEY) and session_token is None:
        token = access_key.removeprefix(PREFIX_OF_ACCESS_KEY)
    elif access_key != parent.access_key:
        raise NotAllowed(403, "InvalidAccessKeyId", "The access key does not exist.")
    elif session_token is None:
        return parent, None
    else:
        token = _in_session_token(session_token)
    scope = scope_of(token, parent, now)
    return Credentials(access_key, hashlib.sha256(token.encode()).hexdigest()), scope


def scope_of(token: str, parent: Credentials, now: datetime) -> Scope:
    """Return the scope that the JWT grants. Raises NotAllowed if the parent did not sign it, or it has expired."""
    try:
        payload = jwt.decode(token, parent.secret_key, algorithms=["HS256"], issuer=parent.access_key, options=NO_TIMES)
        claims = CLAIMS.validate_python(payload)
    except (jwt.InvalidTokenError, ValidationError) as error:
        raise _invalid() from error
    if now.timestamp() >= claims.exp:
        raise NotAllowed(400, "ExpiredToken", "The provided token has expired.")
    operations = SCOPES[claims.scope] if claims.actions is None else SCOPES[claims.scope] & claims.actions
    if claims.paths is None:
        return Scope(claims.bucket, operations, None, frozenset())
    return Scope(claims.bucket, operations, claims.paths.prefix_paths, claims.paths.object_paths)


def _in_session_token(session_token: str) -> str:
    try:
        decoded = base64.b64decode(session_token, validate=True)
        if not decoded.startswith(PREFIX_OF_TOKEN):
            raise _invalid()
        return decoded.removeprefix(PREFIX_OF_TOKEN).decode("ascii")
    except ValueError as error:
        raise _invalid() from error


def _invalid() -> NotAllowed:
    return NotAllowed(400, "InvalidToken", "The provided token is malformed, or this access key did not sign it.")
