"""The local S3 takes what R2 takes, and refuses what R2 refuses: real clients, the checking proxy and moto."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from emulators.r2.bodies import MAX_UPLOAD
from emulators.r2.multipart import MIN_PART
from emulators.s3_backend import MotoBackend
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS
from tests.local_r2 import NO_TRAILERS, PARENT, R2_HOST, LocalR2, Multipart, local_r2, refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY: Final = "exports/a b/ü~+'(1)&=.xml"
BODY: Final = b"<mods>a title</mods>\n"
OTHER: Final = b"<mods>A title</mods>\n"
AS_BOTO3_COMES: Final = Config()
STYLES: Final[list[Literal["path", "virtual"]]] = ["path", "virtual"]


@pytest.fixture
def r2(moto: MotoBackend, bucket_name: str) -> Iterator[LocalR2]:
    with local_r2(moto, bucket_name) as found:
        yield found


def put(client: "S3Client", r2: LocalR2, body: bytes = BODY, **more: Any) -> None:
    client.put_object(Bucket=r2.bucket, Key=KEY, Body=body, **more)


def get(client: "S3Client", r2: LocalR2) -> bytes:
    return client.get_object(Bucket=r2.bucket, Key=KEY)["Body"].read()


def keys(r2: LocalR2) -> list[str]:
    return [each["Key"] for each in r2.client().list_objects_v2(Bucket=r2.bucket).get("Contents", [])]


def in_style(style: Literal["path", "virtual"]) -> Config:
    return NO_TRAILERS.merge(Config(s3={"addressing_style": style}, signature_version="s3v4"))


@pytest.mark.parametrize("region", ["auto", "us-east-1"])
def test_a_request_signed_for_r2s_region_under_either_name_is_taken(r2: LocalR2, region: str) -> None:
    client = r2.client(region=region)
    put(client, r2)
    assert get(client, r2) == BODY


REFUSED: Final[dict[str, tuple[Callable[[LocalR2], "S3Client"], int, str]]] = {
    "another secret": (
        lambda r2: r2.client(Credentials(PARENT.access_key, "another secret")),
        403,
        "SignatureDoesNotMatch",
    ),
    "another access key": (
        lambda r2: r2.client(Credentials("another", PARENT.secret_key)),
        403,
        "InvalidAccessKeyId",
    ),
    "another region": (lambda r2: r2.client(region="eu-west-1"), 400, "InvalidRegionName"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_another_key_or_for_another_region_signed_is_refused(r2: LocalR2, case: str) -> None:
    client_of, status, code = REFUSED[case]
    assert refusal(lambda: put(client_of(r2), r2)) == (status, code)
    assert keys(r2) == []


@pytest.mark.parametrize("ahead", [timedelta(minutes=16), timedelta(minutes=-16)])
def test_a_request_signed_more_than_15_minutes_from_now_is_refused(r2: LocalR2, ahead: timedelta) -> None:
    client = r2.client()
    r2.clock.ahead = ahead
    assert refusal(lambda: put(client, r2)) == (403, "RequestTimeTooSkewed")


def test_boto3_with_its_default_settings_is_refused_over_https(r2: LocalR2) -> None:
    client = r2.client(host=R2_HOST, config=AS_BOTO3_COMES)
    assert refusal(lambda: put(client, r2)) == (501, "NotImplemented")
    assert keys(r2) == []


def test_boto3_without_trailers_is_taken_over_https(r2: LocalR2) -> None:
    client = r2.client(host=R2_HOST)
    put(client, r2)
    assert get(client, r2) == BODY


def test_a_declared_checksum_must_be_the_bodys(r2: LocalR2) -> None:
    client = r2.client()
    md5 = [base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode() for body in (BODY, OTHER)]
    sha1 = [base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode() for body in (BODY, OTHER)]

    assert refusal(lambda: put(client, r2, ContentMD5=md5[1])) == (400, "BadDigest")
    assert refusal(lambda: put(client, r2, ChecksumSHA1=sha1[1])) == (400, "BadDigest")
    assert refusal(lambda: put(client, r2, ChecksumCRC32="AAAAAA==")) == (400, "BadDigest")
    assert refusal(lambda: put(client, r2, ChecksumCRC64NVME="AAAAAAAAAAA=")) == (501, "NotImplemented")
    assert keys(r2) == []
    put(client, r2, ContentMD5=md5[0], ChecksumSHA1=sha1[0])
    put(r2.client(config=AS_BOTO3_COMES), r2)  # over plain HTTP it sends the CRC32 in a header
    assert get(client, r2) == BODY


def test_a_put_of_more_than_5_gib_is_refused_before_its_body_is_sent(r2: LocalR2) -> None:
    connection = HTTPConnection(urlsplit(r2.endpoint).netloc, timeout=ANSWER_SECONDS)
    connection.putrequest("PUT", f"/{r2.bucket}/large")
    connection.putheader("content-length", str(MAX_UPLOAD + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 400
    assert b"<Code>EntityTooLarge</Code>" in response.read()
    connection.close()


def test_a_document_longer_than_any_of_the_api_is_refused(r2: LocalR2) -> None:
    response = plain_http.post(f"{r2.endpoint}/{r2.bucket}?delete", content=bytes(9 << 20), timeout=ANSWER_SECONDS)
    assert response.status_code == 400
    assert "<Code>MaxMessageLengthExceeded</Code>" in response.text


@pytest.mark.parametrize("style", STYLES)
def test_parts_of_one_size_and_a_shorter_last_one_make_an_object(
    r2: LocalR2, style: Literal["path", "virtual"]
) -> None:
    client = r2.client(host=R2_HOST, config=in_style(style))
    Multipart(client, r2.bucket, KEY, [MIN_PART, MIN_PART, 1]).complete(1, 2, 3)
    assert client.head_object(Bucket=r2.bucket, Key=KEY)["ContentLength"] == 2 * MIN_PART + 1


def test_parts_of_unequal_sizes_make_no_object(r2: LocalR2) -> None:
    upload = Multipart(r2.client(), r2.bucket, KEY, [MIN_PART, MIN_PART + 1, 1])
    assert refusal(lambda: upload.complete(1, 2, 3)) == (400, "InvalidPart")
    assert refusal(lambda: upload.complete(1, 2)) == (400, "InvalidPart")  # the last is longer
    assert keys(r2) == []
    upload.complete(1, 3)
    assert keys(r2) == [KEY]


def test_parts_of_less_than_5_mib_make_no_object(r2: LocalR2) -> None:
    upload = Multipart(r2.client(), r2.bucket, KEY, [MIN_PART - 1, MIN_PART - 1])
    assert refusal(lambda: upload.complete(1, 2)) == (400, "EntityTooSmall")


def test_an_upload_that_was_aborted_is_not_found(r2: LocalR2) -> None:
    client = r2.client()
    upload = Multipart(client, r2.bucket, KEY, [1])
    client.abort_multipart_upload(Bucket=r2.bucket, Key=KEY, UploadId=upload.id)
    assert refusal(lambda: upload.put(2, b"x")) == (404, "NoSuchUpload")
    assert refusal(lambda: upload.complete(1)) == (404, "NoSuchUpload")


def test_a_malformed_list_of_parts_is_refused(r2: LocalR2) -> None:
    client = r2.client()
    upload = Multipart(client, r2.bucket, KEY, [1])
    for malformed in (b"<", b"<C><Part><PartNumber>one</PartNumber></Part></C>", b""):
        sends_it = _with_body(malformed)
        client.meta.events.register_first("before-sign.s3.CompleteMultipartUpload", sends_it)
        assert refusal(lambda: upload.complete(1)) == (400, "MalformedXML")
        client.meta.events.unregister("before-sign.s3.CompleteMultipartUpload", sends_it)


def _with_body(body: bytes) -> Callable[..., None]:
    def change(request: AWSRequest, **_: Any) -> None:
        request.data = body

    return change


@pytest.mark.parametrize("style", STYLES)
def test_a_client_of_r2s_own_host_is_served_with_the_bucket_in_the_host_or_in_the_path(
    r2: LocalR2, style: Literal["path", "virtual"]
) -> None:
    client = r2.client(host=R2_HOST, config=in_style(style))
    put(client, r2)
    assert get(client, r2) == BODY
    assert keys(r2) == [KEY]
    client.delete_object(Bucket=r2.bucket, Key=KEY)
    assert keys(r2) == []


@pytest.mark.parametrize("style", STYLES)
def test_a_presigned_url_of_r2s_own_host_is_bound_to_its_host_and_path(
    r2: LocalR2, style: Literal["path", "virtual"]
) -> None:
    put(r2.client(), r2)
    client = r2.client(host=R2_HOST, config=in_style(style))
    url = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": r2.bucket, "Key": KEY}))
    assert (url.netloc == R2_HOST) == (style == "path")

    def fetch(host: str, path: str) -> httpx.Response:
        return plain_http.get(f"{r2.endpoint}{path}?{url.query}", headers={"host": host}, timeout=ANSWER_SECONDS)

    assert fetch(url.netloc, url.path).content == BODY
    for host, path in [(f"other.{R2_HOST}", url.path), (R2_HOST, f"{url.path}x"), (url.netloc.upper(), url.path)]:
        assert fetch(host, path).status_code == 403


def test_no_signature_of_a_request_reaches_motos_log(r2: LocalR2, moto_logs: Path) -> None:
    put(r2.client(), r2)
    logged = (moto_logs / "moto.log").read_text()
    assert f"PUT /{r2.bucket}/" in logged
    assert "Signature" not in logged
