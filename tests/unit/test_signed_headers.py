"""The checking proxy refuses changed requests that the real library signed in their headers, with S3's own codes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from emulators.r2.bodies import CHECKSUM, UNSIGNED
from emulators.r2.checks import check
from emulators.r2.request import NotAllowed, ReceivedRequest
from emulators.s3_backend import REGION
from tests.unit.test_presigned import BODY, CREDENTIALS, HOST, in_target, now, with_headers, without

SKEW: Final = timedelta(minutes=15)


class Unsigned(S3SigV4Auth):
    def payload(self, request: AWSRequest) -> str:
        return UNSIGNED


def a_request(signer: type[S3SigV4Auth] = S3SigV4Auth, service: str = "s3") -> ReceivedRequest:
    """A signed PUT as the proxy gets it: with a key that needs every kind of quoting."""
    target = "/outputs/a%20b/%C3%BC~%2B%27.xml?a=2&x-id=PutObject"
    headers = {"content-type": "text/plain", "content-length": str(len(BODY)), "x-amz-meta-title": "a  title"}
    request = AWSRequest("PUT", f"http://{HOST}{target}", headers, BODY)
    signer(CREDENTIALS, service, REGION).add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()}
    return ReceivedRequest("PUT", target, {**sent, "host": HOST}, len(BODY), {CHECKSUM: hashlib.sha256(BODY).digest()})


def in_authorization(old: str, new: str) -> Callable[[ReceivedRequest], ReceivedRequest]:
    return lambda request: with_headers(request, authorization=request.headers["authorization"].replace(old, new))


def other_body(request: ReceivedRequest) -> ReceivedRequest:
    return replace(request, digests={CHECKSUM: hashlib.sha256(b"A body").digest()})


@pytest.mark.parametrize("signer", [S3SigV4Auth, Unsigned])
def test_a_request_as_it_was_signed_is_allowed(signer: type[S3SigV4Auth]) -> None:
    for at in (timedelta(0), SKEW - timedelta(seconds=5), timedelta(seconds=5) - SKEW):
        check(a_request(signer), CREDENTIALS, now() + at)


REFUSED: Final[dict[str, tuple[Callable[[ReceivedRequest], ReceivedRequest], int, str]]] = {
    "another method": (lambda request: replace(request, method="DELETE"), 403, "SignatureDoesNotMatch"),
    "another key": (in_target("a%20b", "a%20c"), 403, "SignatureDoesNotMatch"),
    "another parameter": (in_target("a=2", "a=3"), 403, "SignatureDoesNotMatch"),
    "another host": (lambda request: with_headers(request, host="10.0.2.2:9000"), 403, "SignatureDoesNotMatch"),
    "another type": (lambda request: with_headers(request, content_type="text/html"), 403, "SignatureDoesNotMatch"),
    "a later date": (lambda request: with_headers(request, x_amz_date=later()), 403, "SignatureDoesNotMatch"),
    "a date of another day": (in_authorization("/20", "/19"), 400, "AuthorizationHeaderMalformed"),
    "no date": (lambda request: without(request, "x-amz-date"), 400, "AuthorizationHeaderMalformed"),
    "a signed header left out": (lambda request: without(request, "x-amz-meta-title"), 403, "SignatureDoesNotMatch"),
    "an unsigned header": (lambda request: with_headers(request, x_amz_acl="public-read"), 403, "AccessDenied"),
    "no host signed": (in_authorization("host;", ""), 403, "AccessDenied"),
    "another access key": (in_authorization("Credential=local", "Credential=locam"), 403, "InvalidAccessKeyId"),
    "another region": (in_authorization("/auto/", "/eu-west-1/"), 400, "InvalidRegionName"),
    "no signature": (in_authorization("Signature=", "Sig="), 400, "AuthorizationHeaderMalformed"),
    "a credential of another form": (in_authorization("/s3/", "/"), 400, "AuthorizationHeaderMalformed"),
    "another way to authenticate": (in_authorization("AWS4-HMAC-SHA256", "Bearer"), 403, "AccessDenied"),
    "no way to authenticate": (lambda request: without(request, "authorization"), 403, "AccessDenied"),
    "no digest of the body": (lambda request: without_digest(request), 400, "InvalidRequest"),
    "another body": (other_body, 400, "XAmzContentSHA256Mismatch"),
    "a shorter body": (lambda request: replace(request, size=len(BODY) - 1), 400, "IncompleteBody"),
    "no path": (in_target("/outputs", "outputs"), 400, "InvalidURI"),
}


def later() -> str:
    return (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y%m%dT%H%M%SZ")


def without_digest(request: ReceivedRequest) -> ReceivedRequest:
    return in_authorization("x-amz-content-sha256;", "")(without(request, "x-amz-content-sha256"))


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_other_than_the_signed_one_is_refused(case: str) -> None:
    change, status, code = REFUSED[case]
    with pytest.raises(NotAllowed) as refused:
        check(change(a_request()), CREDENTIALS, now())
    assert (refused.value.status, refused.value.code) == (status, code)


def test_a_signature_with_another_secret_or_for_another_service_is_refused() -> None:
    with pytest.raises(NotAllowed, match="not the one that was signed"):
        check(a_request(), Credentials("local", "another secret"), now())
    with pytest.raises(NotAllowed, match="not that of a signed request"):
        check(a_request(service="sqs"), CREDENTIALS, now())


@pytest.mark.parametrize("at", [SKEW + timedelta(seconds=5), -SKEW - timedelta(seconds=5)])
def test_a_request_that_was_signed_too_long_before_or_after_now_is_refused(at: timedelta) -> None:
    with pytest.raises(NotAllowed) as refused:
        check(a_request(), CREDENTIALS, now() + at)
    assert (refused.value.status, refused.value.code) == (403, "RequestTimeTooSkewed")
