"""Outputs in a bucket of Google Cloud Storage, through V4 signed URLs.

What an upload's URL fixes, and what enforces it:

- key, method, content type and expiry: in the signature;
- the exact length: `x-goog-content-length-range`, which the service enforces;
- the bytes: `x-goog-content-sha256` is the payload's hash in the signed canonical request
(https://cloud.google.com/storage/docs/authentication/canonical-requests). Google's client libraries sign it so and say
that the service compares it; its reference pages do not promise that, and we have not measured it.

Weaker than on S3: the service keeps no SHA-256 of its own (only CRC32C and MD5), so `stat` reports the one that the
signed metadata declares. Clients that download an output compare it with the order's SHA-256 in any case.

The URL does not sign `x-goog-if-generation-match: 0`: if the answer to an upload was lost, the worker sends the same
bytes to the same key again, and that must succeed. Other bytes have another key, so the header would protect nothing
else.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import chain
from typing import Final

import google.auth
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth import impersonated_credentials
from google.auth.credentials import Signing
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import RequestException

from functions.adapters.disposition import attachment
from functions.domain.refusals import NotFound as NoObject
from functions.domain.refusals import Unavailable
from functions.ports.outputs import PresignedUpload, StoredObject, UploadTerms

DECLARED: Final = "sha256"
SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
TIMEOUT: Final = (5.0, 10.0)
"""Seconds to connect, and to read."""
CHUNK: Final = 8 * 1024 * 1024
"""The number of bytes of an object that one request reads."""
RETRY: Final = DEFAULT_RETRY.with_timeout(20.0)


def gcs_client(sign_as: str | None) -> Client:
    """Return a client that uses the environment's credentials.

    A deployed function's credentials have no private key. They sign as the service account `sign_as` (an e-mail
    address), for which they need the role `roles/iam.serviceAccountTokenCreator`.
    """
    credentials, project = google.auth.default(scopes=[SCOPE])
    if not isinstance(credentials, Signing) and sign_as is not None:
        credentials = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            credentials, sign_as, target_scopes=[SCOPE]
        )
    return Client(project=project, credentials=credentials)


class GcsBucket:
    """`client` has credentials that can sign: a service account's, or impersonated ones."""

    part_uploads: Final = None
    """One request may upload 5 TiB (https://cloud.google.com/storage/quotas#objects)."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._bucket = client.bucket(bucket)

    def presign_upload(self, terms: UploadTerms, valid: timedelta) -> PresignedUpload:
        signed = {
            "content-type": terms.content_type,
            "x-goog-content-length-range": f"{terms.size},{terms.size}",
            "x-goog-content-sha256": terms.sha256,
            f"x-goog-meta-{DECLARED}": terms.sha256,
        }
        with _reaching():
            url = self._bucket.blob(terms.key).generate_signed_url(
                version="v4", method="PUT", expiration=valid, headers=dict(signed)
            )
        return PresignedUpload(url, {"content-length": str(terms.size), **signed})

    def presign_download(self, key: str, file_name: str, valid: timedelta) -> str:
        with _reaching():
            url: str = self._bucket.blob(key).generate_signed_url(
                version="v4", method="GET", expiration=valid, response_disposition=attachment(file_name)
            )
        return url

    def stat(self, key: str) -> StoredObject | None:
        with _reaching():
            blob = self._bucket.get_blob(key, timeout=TIMEOUT, retry=RETRY)
        return blob and StoredObject(blob.size, (blob.metadata or {}).get(DECLARED), f'"{blob.etag}"')

    def read(self, key: str, first: int, last: int) -> Iterator[bytes]:
        blob = self._bucket.blob(key)

        def part(start: int) -> bytes:
            end = min(start + CHUNK - 1, last)
            with _reaching():
                try:
                    content: bytes = blob.download_as_bytes(start=start, end=end, timeout=TIMEOUT, retry=RETRY)
                except NotFound:
                    raise NoObject(f"There is no object {key}.") from None
            return content

        return chain([part(first)], map(part, range(first + CHUNK, last + 1, CHUNK)))

    def copy(self, source: str, target: str, content_type: str) -> int | None:
        """Let the service rewrite the object: a large one takes several requests."""
        copied, token = self._bucket.blob(target), None
        copied.content_type = content_type
        with _reaching():
            while True:
                try:
                    token, _, size = copied.rewrite(
                        self._bucket.blob(source), token=token, timeout=TIMEOUT, retry=RETRY
                    )
                except NotFound:
                    return None
                if token is None:
                    return int(size)

    def delete_below(self, prefix: str) -> None:
        with _reaching():
            found = [blob.name for blob in self._bucket.list_blobs(prefix=prefix, timeout=TIMEOUT, retry=RETRY)]
            for key in found:
                with suppress(NotFound):  # it has been removed meanwhile
                    self._bucket.delete_blob(key, timeout=TIMEOUT, retry=RETRY)


@contextmanager
def _reaching() -> Iterator[None]:
    """Signing may be a request too: impersonated credentials call the IAM API to sign."""
    try:
        yield
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise Unavailable("The output bucket did not answer as expected.") from error
