"""Opens the output bucket that a URL names, and imports only the library that this bucket needs."""

from urllib.parse import urlsplit

from functions.domain.refusals import Invalid
from functions.ports.outputs import OutputBucket


def open_bucket(
    url: str,
    *,
    endpoint: str | None = None,
    region: str = "auto",
    access_key_id: str | None = None,
    secret: str | None = None,
    sign_as: str | None = None,
) -> OutputBucket:
    """Return the bucket of `s3://name` or `gs://name`.

    S3 uses `endpoint`, `region` and the key: R2 and the local stack have endpoints of their own. Google Cloud Storage
    uses `sign_as`, the service account that signs. Raises Invalid.
    """
    parts = urlsplit(url)
    match parts.scheme, parts.netloc:
        case "s3", name if name:
            from functions.adapters.s3 import S3Bucket, s3_client

            return S3Bucket(s3_client(endpoint, region, access_key_id, secret), name)
        case "gs", name if name:
            from functions.adapters.gcs import GcsBucket, gcs_client

            return GcsBucket(gcs_client(sign_as), name)
        case _:
            raise Invalid("The bucket is named by s3://name or gs://name.", {"bucket": f"not {url!r}"})
