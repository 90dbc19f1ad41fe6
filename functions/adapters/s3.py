"""Outputs in a bucket that speaks the S3 protocol: Amazon S3 or Cloudflare R2.

An upload's URL signs the length, the type and the SHA-256 of the bytes, and the service compares the bytes with them.
So only these bytes can be stored under the key, and they may be sent again.

The URL of a part signs its length only: R2 answers 501 to a part that carries a SHA-256
(https://github.com/Alos-no/Cloudflare.NET/pull/43, probed in August 2026). The object's SHA-256 is then the one that
was declared when the upload was begun.
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.disposition import attachment
from functions.domain.multipart import MIB, Part, PartLimits
from functions.domain.refusals import NotFound, Unavailable
from functions.ports.outputs import PresignedUpload, StoredObject, UploadedPart, UploadTerms
from shared.public_address import is_loopback

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef

CHUNK: Final = 256 * 1024
"""The number of bytes that are read of an object at a time."""
DECLARED: Final = "sha256"
"""The metadata field that repeats the object's signed SHA-256, in lower-case hex."""

LIMITS: Final = PartLimits(single=(5 * 1024 - 5) * MIB, smallest=64 * MIB)
"""R2 takes 5 MiB less than 5 GiB in one request (https://developers.cloudflare.com/r2/platform/limits/), S3 5 GiB.

Both take parts from 5 MiB on; larger ones need fewer requests.
"""

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
    def __init__(self, client: "S3Client", bucket: str, limits: PartLimits = LIMITS) -> None:
        self._client, self._bucket = client, bucket
        self.part_uploads = S3PartUploads(client, bucket, limits)

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

    def copy(self, source: str, target: str, content_type: str) -> int | None:
        """Copy in parts what is too large for one request (https://developers.cloudflare.com/r2/platform/limits/)."""
        limits = self.part_uploads.limits
        in_parts = TransferConfig(multipart_threshold=limits.single, multipart_chunksize=limits.smallest)
        replaced: dict[str, Any] = {"MetadataDirective": "REPLACE", "ContentType": content_type}
        with _reaching():
            try:
                self._client.copy(
                    {"Bucket": self._bucket, "Key": source}, self._bucket, target, ExtraArgs=replaced, Config=in_parts
                )
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise
        copied = self.stat(target)
        return None if copied is None else copied.size

    def delete_below(self, prefix: str) -> None:
        with _reaching():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            for key in [entry["Key"] for page in pages for entry in page.get("Contents", [])]:
                self._client.delete_object(Bucket=self._bucket, Key=key)


def _chunks(body: "StreamingBody") -> Iterator[bytes]:
    with closing(body):
        yield from body.iter_chunks(CHUNK)


class S3PartUploads:
    """Multipart uploads. R2 and S3 find them by key and id, and refuse an id of another key as unknown."""

    def __init__(self, client: "S3Client", bucket: str, limits: PartLimits) -> None:
        self._client, self._bucket, self.limits = client, bucket, limits

    def begin(self, terms: UploadTerms) -> str:
        with _reaching():
            begun = self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=terms.key,
                ContentType=terms.content_type,
                Metadata={DECLARED: terms.sha256},
            )
        return begun["UploadId"]

    def find(self, key: str, upload_id: str) -> Mapping[int, UploadedPart] | None:
        pages = self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload_id)
        with _reaching():
            try:
                parts = [part for page in pages for part in page.get("Parts", [])]
            except self._client.exceptions.NoSuchUpload:
                return None
        return {part["PartNumber"]: UploadedPart(part["Size"], part["ETag"]) for part in parts}

    def presign(self, key: str, upload_id: str, part: Part, valid: timedelta) -> PresignedUpload:
        params = {
            "Bucket": self._bucket,
            "Key": key,
            "UploadId": upload_id,
            "PartNumber": part.number,
            "ContentLength": part.size,
        }
        url = self._client.generate_presigned_url("upload_part", Params=params, ExpiresIn=_seconds(valid))
        return PresignedUpload(url, {"content-length": str(part.size)})

    def complete(self, key: str, upload_id: str, parts: Mapping[int, UploadedPart]) -> None:
        joined: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": part.etag} for number, part in sorted(parts.items())
        ]
        with _reaching(), suppress(self._client.exceptions.NoSuchUpload):
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": joined}
            )

    def abort(self, key: str) -> None:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=key)
        with _reaching():
            for found in [found for page in pages for found in page.get("Uploads", [])]:
                if found["Key"] == key or found["Key"].startswith(f"{key}/"):
                    with suppress(self._client.exceptions.NoSuchUpload):
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=found["Key"], UploadId=found["UploadId"]
                        )


def _seconds(valid: timedelta) -> int:
    return int(valid.total_seconds())


def _sha256(head: "HeadObjectOutputTypeDef") -> str | None:
    """Return the checksum that the service stores, in hex.

    R2 compares the SHA-256 on upload, but reports none for whole objects
    (https://developers.cloudflare.com/r2/api/s3/api/). In that case this returns the one in the metadata, which only
    our URL could write. A checksum of checksums (`<base64>-<parts>`), which an object uploaded in parts may have, is no
    SHA-256 of the object.
    """
    checksum = head.get("ChecksumSHA256", "")
    if checksum and "-" not in checksum:
        return base64.b64decode(checksum).hex()
    return head["Metadata"].get(DECLARED)


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise Unavailable(f"The output bucket answered {status}.") from error
    except BotoCoreError as error:
        raise Unavailable("The output bucket did not answer.") from error
