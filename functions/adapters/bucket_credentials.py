"""Credentials of an S3 or R2 bucket for images that upload by themselves.

R2's temporary credentials are signed here, without a request to Cloudflare
(https://developers.cloudflare.com/r2/examples/authenticate-r2-temp-credentials/).
"""

import base64
import hashlib
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from functions.domain.refusals import Conflict
from functions.ports.worker_credentials import BucketCredentials, WorkerCredentials

R2_SUFFIX: Final = ".r2.cloudflarestorage.com"
MAX_VALID: Final = timedelta(days=7)
ACTIONS: Final = (
    "PutObject",
    "GetObject",
    "HeadObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "ListParts",
)
EMBEDDED_PREFIX: Final = "tmp_"
"""Marks an access key id that holds the session's token. Only the local stack accepts it."""


class Issuer:
    """Issues credentials of the bucket `s3://name`. `kind` chooses their form."""

    def __init__(
        self,
        bucket: str,
        endpoint: str | None,
        account_id: str | None,
        access_key_id: str | None,
        secret: str | None,
        kind: WorkerCredentials,
    ) -> None:
        self._bucket, self._endpoint, self._kind = urlsplit(bucket), endpoint, kind
        self._account_id, self._access_key_id, self._secret = account_id, access_key_id, secret

    def issue(self, prefix: str, now: datetime, valid: timedelta) -> BucketCredentials:
        if self._bucket.scheme != "s3" or self._access_key_id is None or self._secret is None:
            raise Conflict(
                "An image that uploads by itself needs a bucket s3://name, LAUNCHYARD_S3_ACCESS_KEY_ID and "
                "LAUNCHYARD_S3_SECRET_ACCESS_KEY."
            )
        if self._kind is not WorkerCredentials.PLAIN and not self._account():
            raise Conflict(
                "Temporary credentials need the id of the R2 account: set LAUNCHYARD_S3_ENDPOINT to R2's address or "
                "LAUNCHYARD_R2_ACCOUNT_ID. For another service set LAUNCHYARD_WORKER_CREDENTIALS to plain."
            )
        key_id, secret, token = self._access_key_id, self._secret, None
        if self._kind is not WorkerCredentials.PLAIN:
            signed = self._sign(key_id, secret, prefix, now, min(valid, MAX_VALID))
            secret = hashlib.sha256(signed.encode()).hexdigest()
            if self._kind is WorkerCredentials.EMBEDDED:
                key_id = f"{EMBEDDED_PREFIX}{signed}"
            else:
                token = base64.b64encode(f"jwt/{signed}".encode()).decode()
        return BucketCredentials(self._account(), self._bucket.netloc, self._endpoint, key_id, secret, token)

    def _sign(self, key_id: str, secret: str, prefix: str, now: datetime, valid: timedelta) -> str:
        """Return the signed claims as a JWT (RFC 7519)."""
        import jwt

        claims = {
            "bucket": self._bucket.netloc,
            "scope": "object-read-write",
            "actions": list(ACTIONS),
            "paths": {"prefixPaths": [prefix], "objectPaths": []},
            "sub": self._account(),
            "iss": key_id,
            "aud": urlsplit(self._endpoint or "").netloc,
            "iat": int(now.timestamp()),
            "exp": int((now + valid).timestamp()),
        }
        return jwt.encode(claims, secret, algorithm="HS256", headers={"typ": "JWT"})

    def _account(self) -> str:
        """Return the R2 account's id, which workers put into the bucket's address; "" if it is not known.

        R2's address is `<account>.r2.cloudflarestorage.com`, or `<account>.eu.r2…` in a jurisdiction.
        """
        host = urlsplit(self._endpoint or "").hostname or ""
        return self._account_id or (host.partition(".")[0] if host.endswith(R2_SUFFIX) else "")
