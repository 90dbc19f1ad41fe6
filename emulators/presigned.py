"""Checks a presigned request as S3 does (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).

botocore's own signer computes the expected signature over the request as it was received.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ALGORITHM: Final = "AWS4-HMAC-SHA256"
MAX_VALIDITY: Final = timedelta(days=7)
SKEW: Final = timedelta(minutes=15)
CHECKSUM: Final = "x-amz-checksum-sha256"


class NotAllowed(Exception):
    """S3 would refuse the request, with this status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it was received: undecoded target, header names in lower case, size and SHA-256 of the body."""

    method: str
    target: str
    headers: Mapping[str, str]
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SignedQuery:
    """The parameters in the query of a presigned URL."""

    access_key: str
    region: str
    timestamp: str
    expires: timedelta
    signed_headers: frozenset[str]
    signature: str

    @property
    def signed_at(self) -> datetime:
        return datetime.strptime(self.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def check(request: Received, credentials: Credentials, now: datetime) -> None:
    """Check signature, time and body. Raises NotAllowed."""
    query = _signed_query(request.target)
    _check_time(query, now)
    _check_headers(query, request.headers)
    if query.access_key != credentials.access_key:
        raise NotAllowed(403, "InvalidAccessKeyId", "The access key does not exist.")
    if not hmac.compare_digest(_signature(request, query, credentials), query.signature):
        raise NotAllowed(403, "SignatureDoesNotMatch", "The request is not the one that was signed.")
    _check_body(request)


def _signed_query(target: str) -> SignedQuery:
    fields = parse_qs(urlsplit(target).query)
    try:
        access_key, _, region, _, _ = fields["X-Amz-Credential"][0].split("/")
        query = SignedQuery(
            access_key=access_key,
            region=region,
            timestamp=fields["X-Amz-Date"][0],
            expires=timedelta(seconds=int(fields["X-Amz-Expires"][0])),
            signed_headers=frozenset(fields["X-Amz-SignedHeaders"][0].split(";")),
            signature=fields["X-Amz-Signature"][0],
        )
        well_formed = fields["X-Amz-Algorithm"] == [ALGORITHM] and query.signed_at < datetime.max.replace(tzinfo=UTC)
    except (KeyError, ValueError, OverflowError):
        well_formed = False
    if not well_formed:
        raise NotAllowed(400, "AuthorizationQueryParametersError", "The query is not that of a presigned URL.")
    return query


def _check_time(query: SignedQuery, now: datetime) -> None:
    if not timedelta(0) < query.expires <= MAX_VALIDITY:
        raise NotAllowed(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be 1 second to 7 days.")
    if query.signed_at > now + SKEW:
        raise NotAllowed(403, "AccessDenied", "The request is not valid yet.")
    if now > query.signed_at + query.expires:
        raise NotAllowed(403, "AccessDenied", "Request has expired")


def _check_headers(query: SignedQuery, headers: Mapping[str, str]) -> None:
    if missing := query.signed_headers - headers.keys():
        raise NotAllowed(403, "SignatureDoesNotMatch", f"Signed headers were not sent: {sorted(missing)}.")
    amz = {name for name in headers if name.startswith("x-amz-")}
    if unsigned := amz - query.signed_headers or {"host"} - query.signed_headers:
        raise NotAllowed(403, "AccessDenied", f"Headers were sent that were not signed: {sorted(unsigned)}.")


def _signature(request: Received, query: SignedQuery, credentials: Credentials) -> str:
    signed = {name: request.headers[name] for name in query.signed_headers}
    url = f"http://{request.headers['host']}{without_signature(request.target)}"
    expected = AWSRequest(request.method, url, signed)
    expected.context["timestamp"] = query.timestamp
    signer = S3SigV4QueryAuth(credentials, "s3", query.region)
    signature: str = signer.signature(signer.string_to_sign(expected, signer.canonical_request(expected)), expected)
    return signature


def without_signature(target: str) -> str:
    """Return the target without its signature. The other parameters stay as they are."""
    path, mark, query = target.partition("?")
    return path + mark + "&".join(field for field in query.split("&") if not field.startswith("X-Amz-Signature="))


def _check_body(request: Received) -> None:
    if request.headers.get("content-length", "0") != str(request.size):
        raise NotAllowed(400, "IncompleteBody", "The body does not have the length of the Content-Length header.")
    declared = request.headers.get(CHECKSUM)
    if declared is not None and declared != base64.b64encode(request.sha256).decode():
        raise NotAllowed(400, "BadDigest", "The SHA-256 you specified did not match the calculated checksum.")
