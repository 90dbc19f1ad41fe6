"""Checks a request's signature as S3 does: in the Authorization header, or in the query of a presigned URL.

botocore's own signer computes the expected signature over the request as it was received
(https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html).
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from emulators.r2.bodies import PAYLOAD
from emulators.r2.request import NotAllowed, ReceivedRequest

ALGORITHM: Final = "AWS4-HMAC-SHA256"
MAX_VALIDITY: Final = timedelta(days=7)
REGIONS: Final = frozenset({"auto", "us-east-1"})
"""R2's region, and the name that R2 takes for it (https://developers.cloudflare.com/r2/api/s3/api/)."""
SIGNING_PARAMETERS: Final = frozenset(
    f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token")
)
SKEW: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of its signature. `expires` is a presigned URL's; the header of other requests has none."""

    access_key: str
    region: str
    signed_at: datetime
    signed_headers: frozenset[str]
    signature: str
    token: str | None
    expires: timedelta | None

    @property
    def timestamp(self) -> str:
        return self.signed_at.strftime("%Y%m%dT%H%M%SZ")


def read_signature(request: ReceivedRequest) -> Signed:
    """Read the signature from the query or the header. Raises NotAllowed if there is none, or it is malformed."""
    fields = request.parameters
    if "X-Amz-Signature" in fields:
        return _in_query({name: values[0] for name, values in fields.items()})
    if request.headers.get("authorization", "").startswith(f"{ALGORITHM} "):
        return _in_header(request.headers)
    raise NotAllowed(403, "AccessDenied", "Access Denied")


def check_time(signed: Signed, now: datetime) -> None:
    """Raise NotAllowed unless the signature is valid now."""
    if signed.expires is None:
        if abs(now - signed.signed_at) > SKEW:
            message = "The difference between the request time and the server's time is too large."
            raise NotAllowed(403, "RequestTimeTooSkewed", message)
        return
    if not timedelta(0) < signed.expires <= MAX_VALIDITY:
        raise NotAllowed(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be 1 second to 7 days.")
    if signed.signed_at > now + SKEW:
        raise NotAllowed(403, "AccessDenied", "The request is not valid yet.")
    if now > signed.signed_at + signed.expires:
        raise NotAllowed(403, "AccessDenied", "Request has expired")


def check_headers(signed: Signed, headers: Mapping[str, str]) -> None:
    """Raise NotAllowed unless the signature covers the Host and all of Amazon's headers."""
    if missing := signed.signed_headers - headers.keys():
        raise NotAllowed(403, "SignatureDoesNotMatch", f"Signed headers were not sent: {sorted(missing)}.")
    amz = {name for name in headers if name.startswith("x-amz-")}
    if unsigned := amz - signed.signed_headers or {"host"} - signed.signed_headers:
        raise NotAllowed(403, "AccessDenied", f"Headers were sent that were not signed: {sorted(unsigned)}.")
    if signed.expires is None and PAYLOAD not in headers:
        raise NotAllowed(400, "InvalidRequest", f"The header {PAYLOAD} is missing.")
    if signed.region not in REGIONS:
        raise NotAllowed(400, "InvalidRegionName", "Sign the request for the region auto.")


def check_signature(request: ReceivedRequest, signed: Signed, credentials: Credentials) -> None:
    """Raise NotAllowed unless these credentials signed the request as it was received."""
    headers = {name: request.headers[name] for name in signed.signed_headers}
    url = f"http://{request.headers['host']}{without(frozenset({'X-Amz-Signature'}), request.target)}"
    expected = AWSRequest(request.method, url, headers)
    expected.context["timestamp"] = signed.timestamp
    signer = (S3SigV4Auth if signed.expires is None else S3SigV4QueryAuth)(credentials, "s3", signed.region)
    signature: str = signer.signature(signer.string_to_sign(expected, signer.canonical_request(expected)), expected)
    if not hmac.compare_digest(signature.encode(), signed.signature.encode()):
        raise NotAllowed(403, "SignatureDoesNotMatch", "The request is not the one that was signed.")


def without(names: frozenset[str], target: str) -> str:
    """Return the target without these parameters. The others stay as they are."""
    path, _, query = target.partition("?")
    kept = "&".join(field for field in query.split("&") if field.partition("=")[0] not in names)
    return f"{path}?{kept}" if kept else path


def _in_query(fields: Mapping[str, str]) -> Signed:
    try:
        if fields["X-Amz-Algorithm"] != ALGORITHM:
            raise ValueError(fields["X-Amz-Algorithm"])
        return _signed(
            credential=fields["X-Amz-Credential"],
            timestamp=fields["X-Amz-Date"],
            headers=fields["X-Amz-SignedHeaders"],
            signature=fields["X-Amz-Signature"],
            token=fields.get("X-Amz-Security-Token"),
            expires=timedelta(seconds=int(fields["X-Amz-Expires"])),
        )
    except (KeyError, ValueError, OverflowError) as error:
        message = "The query is not that of a presigned URL."
        raise NotAllowed(400, "AuthorizationQueryParametersError", message) from error


def _in_header(headers: Mapping[str, str]) -> Signed:
    try:
        parts = headers["authorization"].removeprefix(ALGORITHM).split(",")
        fields = dict(part.strip().split("=", 1) for part in parts)
        return _signed(
            credential=fields["Credential"],
            timestamp=headers["x-amz-date"],
            headers=fields["SignedHeaders"],
            signature=fields["Signature"],
            token=headers.get("x-amz-security-token"),
            expires=None,
        )
    except (KeyError, ValueError) as error:
        message = "The Authorization or x-amz-date header is not that of a signed request."
        raise NotAllowed(400, "AuthorizationHeaderMalformed", message) from error


def _signed(
    credential: str, timestamp: str, headers: str, signature: str, token: str | None, expires: timedelta | None
) -> Signed:
    """Raises ValueError if the fields are no signature for S3."""
    access_key, day, region, service, terminator = credential.rsplit("/", 4)
    if (day, service, terminator) != (timestamp[:8], "s3", "aws4_request"):
        raise ValueError(credential)
    signed_at = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return Signed(access_key, region, signed_at, frozenset(headers.split(";")), signature, token, expires)
