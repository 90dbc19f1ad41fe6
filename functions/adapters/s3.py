"""Outputs in a bucket that speaks the S3 protocol: Amazon S3 or Cloudflare R2.

An upload's URL signs the length, the type and the SHA-256 of the bytes, and the service compares the bytes with them.
So only these bytes can be stored under the key, and they may be sent again.
"""

import base64
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.disposition import attachment
from functions.domain.refusals import NotFound, Unavailable
from functions.ports import PresignedUpload, StoredObject, UploadTerms
from shared.address import is_loopback

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

CHUNK: Final = 256 * 1024
"""The number of bytes that are read of an object at a time."""
DECLARED: Final = "sha256"
"""The metadata field that repeats the object's signed SHA-256, in lower-case hex."""

CONFIG: Final = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",  # R2 does not support the trailers that boto3 sends by default
    response_checksum_validation="when_required",
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
)


def s3_client(endpoint: str | None, region: str, access_key_id: str | None, secret: str | None) -> "S3Client":
    """Return a client: Amazon's without an endpoint. R2's region is `auto`. Without a key, boto3 searches for
    credentials.
    """
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        config=CONFIG.merge(Config(proxies={})) if _is_local(endpoint) else CONFIG,
    )


def _is_local(endpoint: str | None) -> bool:
    """Return whether the endpoint needs no proxy: botocore would use the environment's even for these."""
    return endpoint is not None and is_loopback(urlsplit(endpoint).hostname or "")


class S3Bucket:
    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def presign_upload(self, terms: UploadTerms, valid: timedelta) -> PresignedUpload:
        checksum = base64.b64encode(bytes.fromhex(terms.sha256)).decode()
        params = {
            "Bucket": self._bucket,
            "Key": terms.key,
            "ContentLength": terms.size,
            "ContentType": terms.content_type,
            "ChecksumSHA256": checksum,
            "Metadata": {DECLARED: terms.sha256},
        }
        headers = {
            "content-length": str(terms.size),
            "content-type": terms.content_type,
            "x-amz-checksum-sha256": checksum,
            f"x-amz-meta-{DECLARED}": terms.sha256,
        }
        url = self._client.generate_presigned_url("put_object", Params=params, ExpiresIn=_seconds(valid))
        return PresignedUpload(url, headers)

    def presign_download(self, key: str, file_name: str, valid: timedelta) -> str:
        params = {"Bucket": self._bucket, "Key": key, "ResponseContentDisposition": attachment(file_name)}
        return self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=_seconds(valid))

    def stat(self, key: str) -> StoredObject | None:
        with _reaching():
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise
        return StoredObject(head["ContentLength"], _sha256(head), head["ETag"])

    def read(self, key: str, first: int, last: int) -> Iterator[bytes]:
        with _reaching():
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={first}-{last}")["Body"]
            except self._client.exceptions.NoSuchKey:
                raise NotFound(f"There is no object {key}.") from None
        return _chunks(body)

    def delete(self, key: str) -> None:
        with _reaching():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def delete_below(self, prefix: str) -> None:
        with _reaching():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            for key in [entry["Key"] for page in pages for entry in page.get("Contents", [])]:
                self._client.delete_object(Bucket=self._bucket, Key=key)


def _chunks(body: "StreamingBody") -> Iterator[bytes]:
    with closing(body):
        yield from body.iter_chunks(CHUNK)


def _seconds(valid: timedelta) -> int:
    return int(valid.total_seconds())


def _sha256(head: "HeadObjectOutputTypeDef") -> str | None:
    """Return the checksum that the service stores, in hex.

    R2 compares the SHA-256 on upload, but reports none for whole objects
    (https://developers.cloudflare.com/r2/api/s3/api/). In that case this returns the one in the metadata, which only
    our URL could write.
    """
    checksum = head.get("ChecksumSHA256")
    return base64.b64decode(checksum).hex() if checksum else head["Metadata"].get(DECLARED)


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise Unavailable(f"The output bucket answered {status}.") from error
    except BotoCoreError as error:
        raise Unavailable("The output bucket did not answer.") from error
