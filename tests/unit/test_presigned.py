"""The checking proxy refuses changed requests that the real library presigned, with S3's own codes."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import pytest
from botocore.credentials import Credentials

from emulators.r2.bodies import CHECKSUM
from emulators.r2.checks import check
from emulators.r2.request import NotAllowed, ReceivedRequest
from emulators.s3_backend import REGION
from functions.adapters.s3 import S3Bucket, s3_client
from functions.ports.outputs import UploadTerms

BODY: Final = b"a body"
HOST: Final = "127.0.0.1:9000"
CREDENTIALS: Final = Credentials("local", "a secret of this test")
VALID: Final = timedelta(minutes=10)


@pytest.fixture
def received() -> ReceivedRequest:
    """A presigned PUT as the proxy gets it: with a key that needs every kind of quoting."""
    client = s3_client(f"http://{HOST}", REGION, CREDENTIALS.access_key, CREDENTIALS.secret_key)
    digest = hashlib.sha256(BODY)
    terms = UploadTerms("a b/ü~+'(1)&=.xml", "text/plain", len(BODY), digest.hexdigest())
    upload = S3Bucket(client, "outputs").presign_upload(terms, VALID)
    client.close()
    parts = urlsplit(upload.url)
    headers = {**upload.headers, "host": HOST, "user-agent": "a worker"}
    return ReceivedRequest("PUT", f"{parts.path}?{parts.query}", headers, len(BODY), {CHECKSUM: digest.digest()})


def now() -> datetime:
    return datetime.now(UTC)


def with_headers(request: ReceivedRequest, **changes: str) -> ReceivedRequest:
    headers = {**request.headers, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return replace(request, headers=headers)


def without(request: ReceivedRequest, name: str) -> ReceivedRequest:
    return replace(request, headers={key: value for key, value in request.headers.items() if key != name})


def in_target(old: str, new: str) -> Callable[[ReceivedRequest], ReceivedRequest]:
    return lambda request: replace(request, target=request.target.replace(old, new))


def other_body(request: ReceivedRequest) -> ReceivedRequest:
    return replace(request, digests={CHECKSUM: hashlib.sha256(b"A body").digest()})


def own_checksum(request: ReceivedRequest) -> ReceivedRequest:
    digest = hashlib.sha256(b"A body").digest()
    declared = with_headers(request, x_amz_checksum_sha256=base64.b64encode(digest).decode())
    return replace(declared, digests={CHECKSUM: digest})


def test_a_request_as_it_was_signed_is_allowed(received: ReceivedRequest) -> None:
    check(received, CREDENTIALS, now())
    check(received, CREDENTIALS, now() + VALID - timedelta(seconds=5))


REFUSED: Final[dict[str, tuple[Callable[[ReceivedRequest], ReceivedRequest], int, str]]] = {
    "another method": (lambda request: replace(request, method="DELETE"), 403, "SignatureDoesNotMatch"),
    "another key": (in_target("a%20b", "a%20c"), 403, "SignatureDoesNotMatch"),
    "another parameter": (in_target("?", "?versionId=1&"), 403, "SignatureDoesNotMatch"),
    "a longer expiry": (in_target("X-Amz-Expires=600", "X-Amz-Expires=6000"), 403, "SignatureDoesNotMatch"),
    "no more than a week": (in_target("X-Amz-Expires=600", "X-Amz-Expires=604801"), 400, "AuthorizationQuery"),
    "fewer signed headers": (in_target("content-length%3B", ""), 403, "SignatureDoesNotMatch"),
    "no host signed": (in_target("host%3B", ""), 403, "AccessDenied"),
    "no date": (in_target("X-Amz-Date", "X-Amz-Dat"), 400, "AuthorizationQuery"),
    "another algorithm": (in_target("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5"), 400, "AuthorizationQuery"),
    "another access key": (in_target("Credential=local", "Credential=locam"), 403, "InvalidAccessKeyId"),
    "another host": (lambda request: with_headers(request, host="10.0.2.2:9000"), 403, "SignatureDoesNotMatch"),
    "another type": (lambda request: with_headers(request, content_type="text/html"), 403, "SignatureDoesNotMatch"),
    "a signed header left out": (lambda request: without(request, "content-type"), 403, "SignatureDoesNotMatch"),
    "an unsigned header": (lambda request: with_headers(request, x_amz_acl="public-read"), 403, "AccessDenied"),
    "another body": (other_body, 400, "BadDigest"),
    "another body with its own checksum": (own_checksum, 403, "SignatureDoesNotMatch"),
    "a shorter body": (lambda request: replace(request, size=len(BODY) - 1), 400, "IncompleteBody"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_other_than_the_signed_one_is_refused(received: ReceivedRequest, case: str) -> None:
    change, status, code = REFUSED[case]
    with pytest.raises(NotAllowed) as refused:
        check(change(received), CREDENTIALS, now())
    assert refused.value.status == status
    assert refused.value.code.startswith(code)


def test_a_signature_with_another_secret_is_refused(received: ReceivedRequest) -> None:
    with pytest.raises(NotAllowed, match="not the one that was signed"):
        check(received, Credentials("local", "another secret"), now())


@pytest.mark.parametrize(
    ("at", "message"), [(VALID + timedelta(seconds=5), "expired"), (timedelta(minutes=-20), "not valid yet")]
)
def test_a_request_before_or_after_its_time_is_refused(received: ReceivedRequest, at: timedelta, message: str) -> None:
    with pytest.raises(NotAllowed, match=message) as refused:
        check(received, CREDENTIALS, now() + at)
    assert (refused.value.status, refused.value.code) == (403, "AccessDenied")
