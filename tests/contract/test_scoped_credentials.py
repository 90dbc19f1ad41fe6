"""A temporary credential does at the local S3 what it was scoped to, and nothing else: real clients, proxy and moto."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import Credentials

from emulators.s3_backend import REGION, MotoBackend
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS
from tests.local_r2 import (
    PARENT,
    R2_HOST,
    LocalR2,
    Multipart,
    claims,
    local_r2,
    refusal,
    signed,
    temporary,
    without_session_token,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MINE: Final = "exports/order-1/mods.xml"
THEIRS: Final = "exports/order-10/mods.xml"
BODY: Final = b"<mods>a title</mods>\n"
FORMS: Final[dict[str, Callable[[str], Credentials]]] = {
    "a session token": temporary,
    "an access key id alone": without_session_token,
}
PATHS: Final = {"prefixPaths": ["exports/order-1/"], "objectPaths": ["shared.xml"]}
DENIED: Final = (403, "AccessDenied")


@pytest.fixture
def r2(moto: MotoBackend, bucket_name: str) -> Iterator[LocalR2]:
    """A store with an object of another order."""
    with local_r2(moto, bucket_name) as found:
        found.client().put_object(Bucket=bucket_name, Key=THEIRS, Body=BODY)
        yield found


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Callable[[str], Credentials]:
    return FORMS[request.param]


def scoped(r2: LocalR2, **changed: Any) -> "S3Client":
    """Return a client whose credential is scoped to `PATHS`, except for these claims."""
    return r2.client(temporary(signed(claims(r2.bucket, **{"paths": PATHS, **changed}))))


def test_a_credential_reads_and_writes_within_its_prefix(r2: LocalR2, form: Callable[[str], Credentials]) -> None:
    client = r2.client(form(signed(claims(r2.bucket, paths=PATHS))))

    Multipart(client, r2.bucket, MINE, [1]).complete(1)
    assert client.get_object(Bucket=r2.bucket, Key=MINE)["Body"].read() == bytes(1)
    client.put_object(Bucket=r2.bucket, Key=MINE, Body=b"again")
    client.put_object(Bucket=r2.bucket, Key="shared.xml", Body=b"of one name")
    client.copy_object(Bucket=r2.bucket, Key=f"{MINE}.copy", CopySource={"Bucket": r2.bucket, "Key": MINE})
    assert client.head_object(Bucket=r2.bucket, Key=f"{MINE}.copy")["ContentLength"] == 5
    assert client.list_objects_v2(Bucket=r2.bucket, Prefix="exports/order-1/")["KeyCount"] == 2
    client.head_bucket(Bucket=r2.bucket)
    client.delete_objects(Bucket=r2.bucket, Delete={"Objects": [{"Key": MINE}, {"Key": f"{MINE}.copy"}]})
    assert "Contents" not in client.list_objects(Bucket=r2.bucket, Prefix="exports/order-1/")


OUTSIDE: Final[dict[str, Callable[["S3Client", str], object]]] = {
    "a read": lambda client, bucket: client.get_object(Bucket=bucket, Key=THEIRS),
    "a write": lambda client, bucket: client.put_object(Bucket=bucket, Key=THEIRS, Body=b"x"),
    "a key that only begins with an object's": lambda client, bucket: client.put_object(
        Bucket=bucket, Key="shared.xml.bak", Body=b"x"
    ),
    "an upload in parts": lambda client, bucket: client.create_multipart_upload(Bucket=bucket, Key=THEIRS),
    "a copy from there": lambda client, bucket: client.copy_object(
        Bucket=bucket, Key=MINE, CopySource={"Bucket": bucket, "Key": THEIRS}
    ),
    "a copied part from there": lambda client, bucket: client.upload_part_copy(
        Bucket=bucket, Key=MINE, CopySource={"Bucket": bucket, "Key": THEIRS}, PartNumber=1, UploadId="any"
    ),
    "a deletion": lambda client, bucket: client.delete_object(Bucket=bucket, Key=THEIRS),
    "a deletion of several": lambda client, bucket: client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": MINE}, {"Key": THEIRS}]}
    ),
    "a list of everything": lambda client, bucket: client.list_objects_v2(Bucket=bucket),
    "a list of another prefix": lambda client, bucket: client.list_objects_v2(Bucket=bucket, Prefix="exports/"),
    "a list of uploads": lambda client, bucket: client.list_multipart_uploads(Bucket=bucket),
    "a list of buckets": lambda client, bucket: client.list_buckets(),
    "another operation on the bucket": lambda client, bucket: client.get_bucket_acl(Bucket=bucket),
    "another operation on an object": lambda client, bucket: client.get_object_acl(Bucket=bucket, Key=MINE),
    "the bucket's end": lambda client, bucket: client.delete_bucket(Bucket=bucket),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_what_is_outside_of_a_credentials_prefix_is_denied(r2: LocalR2, what: str) -> None:
    client = scoped(r2)
    client.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)
    assert refusal(lambda: OUTSIDE[what](client, r2.bucket)) == DENIED
    assert r2.client().get_object(Bucket=r2.bucket, Key=THEIRS)["Body"].read() == BODY


def test_another_bucket_is_denied(r2: LocalR2) -> None:
    other = f"other-{r2.bucket}"
    r2.client().create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": REGION})  # type: ignore[typeddict-item]
    client = scoped(r2, paths=None)
    assert refusal(lambda: client.put_object(Bucket=other, Key=MINE, Body=b"x")) == DENIED
    assert refusal(lambda: client.list_objects_v2(Bucket=other)) == DENIED
    copied = f"{other}/{MINE}"
    assert refusal(lambda: client.copy_object(Bucket=r2.bucket, Key=MINE, CopySource=copied)) == DENIED


def test_a_credential_that_reads_only_does_not_write(r2: LocalR2) -> None:
    client = scoped(r2, scope="object-read-only", paths=None)
    assert client.get_object(Bucket=r2.bucket, Key=THEIRS)["Body"].read() == BODY
    assert client.list_objects_v2(Bucket=r2.bucket)["KeyCount"] == 1
    assert refusal(lambda: client.put_object(Bucket=r2.bucket, Key=THEIRS, Body=b"x")) == DENIED
    assert refusal(lambda: client.delete_object(Bucket=r2.bucket, Key=THEIRS)) == DENIED
    assert refusal(lambda: client.create_multipart_upload(Bucket=r2.bucket, Key=THEIRS)) == DENIED


def test_a_credential_for_some_operations_is_for_these_alone(r2: LocalR2) -> None:
    client = scoped(r2, actions=["PutObject"])
    client.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)
    assert refusal(lambda: client.get_object(Bucket=r2.bucket, Key=MINE)) == DENIED
    assert refusal(lambda: client.create_multipart_upload(Bucket=r2.bucket, Key=MINE)) == DENIED
    reads_only = scoped(r2, actions=["PutObject"], scope="object-read-only")
    assert refusal(lambda: reads_only.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)) == DENIED


def test_an_expired_credential_is_refused(r2: LocalR2, form: Callable[[str], Credentials]) -> None:
    granted = claims(r2.bucket)
    client = r2.client(form(signed({**granted, "exp": granted["iat"] + 300})))
    client.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)
    r2.clock.ahead = timedelta(minutes=5, seconds=1)
    assert refusal(lambda: client.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)) == (400, "ExpiredToken")


def with_payload_of(token: str, other: str) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{other.split('.')[1]}.{signature}"


FORGED: Final[dict[str, Callable[[str], str]]] = {
    "signed with another secret": lambda bucket: signed(
        claims(bucket), "another secret, as long as the keys of R2 are"
    ),
    "signed with another algorithm": lambda bucket: signed(claims(bucket), PARENT.secret_key * 2, "HS512"),
    "not signed": lambda bucket: signed(claims(bucket), "", "none"),
    "of another parent": lambda bucket: signed(claims(bucket, iss="another")),
    "with other claims than it was signed with": lambda bucket: with_payload_of(
        signed(claims(bucket, paths=PATHS)), signed(claims(bucket))
    ),
    "of an unknown scope": lambda bucket: signed(claims(bucket, scope="everything")),
    "without an end": lambda bucket: signed({name: value for name, value in claims(bucket).items() if name != "exp"}),
    "of another kind": lambda bucket: "no token",
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_credential_is_refused(r2: LocalR2, case: str, form: Callable[[str], Credentials]) -> None:
    client = r2.client(form(FORGED[case](r2.bucket)))
    assert refusal(lambda: client.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)) == (400, "InvalidToken")


@pytest.mark.parametrize("token", ["no base64", "bm8gand0", ""])
def test_a_session_token_of_another_kind_is_refused(r2: LocalR2, token: str) -> None:
    url = r2.client(Credentials(PARENT.access_key, PARENT.secret_key, "")).generate_presigned_url(
        "get_object", Params={"Bucket": r2.bucket, "Key": THEIRS}
    )
    refused = plain_http.get(f"{url}&X-Amz-Security-Token={token}", timeout=ANSWER_SECONDS)
    assert (refused.status_code, "<Code>InvalidToken</Code>" in refused.text) == (400, True)


def test_a_credential_without_its_session_token_signs_nothing(r2: LocalR2) -> None:
    granted = temporary(signed(claims(r2.bucket)))
    without = r2.client(Credentials(granted.access_key, granted.secret_key))
    assert refusal(lambda: without.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)) == (403, "SignatureDoesNotMatch")


def test_a_session_token_without_its_secret_signs_nothing(r2: LocalR2) -> None:
    granted = temporary(signed(claims(r2.bucket)))
    without = r2.client(Credentials(granted.access_key, "another secret", granted.token))
    assert refusal(lambda: without.list_objects_v2(Bucket=r2.bucket)) == (403, "SignatureDoesNotMatch")


def test_at_r2s_own_host_the_bucket_in_the_host_is_the_one_that_counts(r2: LocalR2) -> None:
    credentials = temporary(signed(claims(r2.bucket, paths=PATHS)))
    client = r2.client(credentials, host=R2_HOST)
    client.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)
    assert refusal(lambda: client.put_object(Bucket=r2.bucket, Key=THEIRS, Body=b"x")) == DENIED
    elsewhere = r2.client(credentials, host=f"other.{R2_HOST}")
    assert refusal(lambda: elsewhere.list_objects_v2(Bucket=r2.bucket, Prefix="exports/order-1/")) == DENIED


def test_a_url_presigned_with_a_credential_reaches_no_further_and_is_not_in_motos_log(
    r2: LocalR2, form: Callable[[str], Credentials], moto_logs: Path
) -> None:
    credentials = form(signed(claims(r2.bucket, paths=PATHS)))
    client = r2.client(credentials)
    client.put_object(Bucket=r2.bucket, Key=MINE, Body=BODY)

    def url(key: str) -> str:
        return client.generate_presigned_url("get_object", Params={"Bucket": r2.bucket, "Key": key})

    assert plain_http.get(url(MINE), timeout=ANSWER_SECONDS).content == BODY
    refused = plain_http.get(url(THEIRS), timeout=ANSWER_SECONDS)
    assert (refused.status_code, "AccessDenied" in refused.text) == (403, True)
    logged = (moto_logs / "moto.log").read_text()
    assert MINE in logged
    assert (credentials.token or credentials.access_key)[:40] not in logged
    assert parse_qs(urlsplit(url(MINE)).query)["X-Amz-Signature"][0] not in logged
