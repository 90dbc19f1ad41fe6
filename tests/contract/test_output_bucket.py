"""The contract of every output bucket, over the in-memory one, S3 (moto behind the checking proxy) and a local GCS."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.stub import Stubber
from google.cloud.storage import Client
from werkzeug import Response

from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.s3 import start_s3
from emulators.s3_backend import REGION
from emulators.serving import serving
from functions.adapters.buckets import open_bucket
from functions.adapters.gcs import GcsBucket
from functions.adapters.s3 import S3Bucket, s3_client
from functions.domain.refusals import Invalid, NotFound, Unavailable
from functions.ports.outputs import StoredObject
from functions.settings import BucketSettings
from functions.wiring import cloud
from tests.contract.bucket_rigs import (
    ACCESS_KEY,
    BODY,
    BUCKET,
    SECRET,
    VALID,
    Downloaded,
    HttpRig,
    Rig,
    put_bytes,
    terms_of,
)
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS
from tests.local_gcs import LocalGcs
from tests.local_r2 import Clock


def test_an_upload_on_its_terms_is_stored_and_known_by_size_and_sha256(rig: Rig) -> None:
    terms = terms_of()
    assert rig.put(rig.bucket.presign_upload(terms, VALID), BODY)
    assert rig.bucket.stat(terms.key) == StoredObject(len(BODY), terms.sha256)


def test_an_empty_output_is_an_output(rig: Rig) -> None:
    terms = terms_of(b"")
    assert rig.put(rig.bucket.presign_upload(terms, VALID), b"")
    assert rig.bucket.stat(terms.key) == StoredObject(0, terms.sha256)


@pytest.mark.parametrize("other", [BODY.replace(b"title", b"tItle"), BODY + b"more", BODY[:-1], b""])
def test_a_body_other_than_the_terms_is_refused_and_leaves_nothing(rig: Rig, other: bytes) -> None:
    terms = terms_of()
    assert not rig.put(rig.bucket.presign_upload(terms, VALID), other)
    assert rig.bucket.stat(terms.key) is None


def test_the_same_upload_may_be_sent_again(rig: Rig) -> None:
    terms = terms_of()
    upload = rig.bucket.presign_upload(terms, VALID)
    assert rig.put(upload, BODY)
    assert rig.put(upload, BODY)
    assert rig.bucket.stat(terms.key) == StoredObject(len(BODY), terms.sha256)


def test_an_expired_upload_is_refused_and_leaves_nothing(rig: Rig) -> None:
    terms = terms_of()
    upload = rig.bucket.presign_upload(terms, VALID)
    rig.clock.ahead = VALID + timedelta(seconds=5)
    assert not rig.put(upload, BODY)
    assert rig.bucket.stat(terms.key) is None


def test_an_expired_download_is_refused(rig: Rig) -> None:
    terms = terms_of()
    rig.put(rig.bucket.presign_upload(terms, VALID), BODY)
    url = rig.bucket.presign_download(terms.key, "mods.xml", VALID)
    rig.clock.ahead = VALID + timedelta(seconds=5)
    assert rig.get(url) is None


def test_an_upload_to_another_key_than_the_signed_one_is_refused_and_leaves_nothing(rig: Rig) -> None:
    upload = rig.bucket.presign_upload(terms_of(), VALID)
    assert not rig.put(replace(upload, url=upload.url.replace("order-1", "order-2")), BODY)
    assert rig.bucket.stat("outputs/order-2/1/mods.xml") is None


def test_a_download_of_another_key_than_the_signed_one_is_refused(rig: Rig) -> None:
    others = terms_of(key="outputs/order-2/1/mods.xml")
    rig.put(rig.bucket.presign_upload(others, VALID), BODY)
    url = rig.bucket.presign_download("outputs/order-1/1/mods.xml", "mods.xml", VALID)
    assert rig.get(url.replace("order-1", "order-2")) is None


@pytest.mark.parametrize("name", ["mods.xml", 'a "b" \\ c; d.xml', "Ärger – über.xml"])
def test_a_download_carries_the_file_name_and_the_bytes(rig: Rig, name: str) -> None:
    terms = terms_of()
    rig.put(rig.bucket.presign_upload(terms, VALID), BODY)
    assert rig.get(rig.bucket.presign_download(terms.key, name, VALID)) == Downloaded(name, BODY)


def test_a_copy_has_the_bytes_and_the_type_that_it_is_given_and_stays_when_its_source_changes(rig: Rig) -> None:
    terms = terms_of()
    rig.put(rig.bucket.presign_upload(terms, VALID), BODY)

    assert rig.bucket.copy(terms.key, "outputs/order-1/1/copy/a.xml", "text/plain") == len(BODY)

    others = terms_of(BODY.replace(b"title", b"tItle"))
    assert rig.put(rig.bucket.presign_upload(others, VALID), BODY.replace(b"title", b"tItle"))
    assert rig.get(rig.bucket.presign_download("outputs/order-1/1/copy/a.xml", "a.xml", VALID)) == Downloaded(
        "a.xml", BODY
    )


def test_nothing_is_copied_of_an_object_that_is_not_there(rig: Rig) -> None:
    assert rig.bucket.copy("outputs/none/1/mods.xml", "outputs/copy", "text/plain") is None
    assert rig.bucket.stat("outputs/copy") is None


@pytest.mark.parametrize("rig", ["s3", "gcs"], indirect=True)
def test_a_copy_is_of_the_type_that_it_is_given_and_packed_in_no_way(rig: Rig) -> None:
    terms = terms_of()
    upload = rig.bucket.presign_upload(terms, VALID)
    assert put_bytes(upload.url, {**upload.headers, "content-encoding": "gzip"}, BODY).is_success

    rig.bucket.copy(terms.key, "outputs/copy", "text/plain")

    answer = plain_http.get(rig.bucket.presign_download("outputs/copy", "a.xml", VALID), timeout=ANSWER_SECONDS)
    assert (answer.headers["content-type"].partition(";")[0], answer.content) == ("text/plain", BODY)
    assert answer.headers.get("content-encoding") is None


@pytest.mark.parametrize(("first", "last"), [(0, len(BODY) - 1), (0, 0), (3, 9), (len(BODY) - 1, len(BODY) - 1)])
def test_an_object_is_read_from_one_byte_to_another(rig: Rig, first: int, last: int) -> None:
    terms = terms_of()
    rig.put(rig.bucket.presign_upload(terms, VALID), BODY)
    assert b"".join(rig.bucket.read(terms.key, first, last)) == BODY[first : last + 1]


def test_an_object_that_is_not_there_is_not_read(rig: Rig) -> None:
    with pytest.raises(NotFound):
        rig.bucket.read("outputs/none/1/mods.xml", 0, 3)


def test_another_object_of_one_key_has_another_entity_tag(rig: Rig) -> None:
    tags = []
    for body in (BODY, BODY, BODY.replace(b"title", b"tItle")):
        rig.put(rig.bucket.presign_upload(terms_of(body), VALID), body)
        stored = rig.bucket.stat(terms_of().key)
        assert stored is not None
        tags.append(stored.etag)
    assert tags[0] == tags[1] != tags[2]
    assert all(tag.startswith('"') and tag.endswith('"') and len(tag) > 2 for tag in tags)


def test_every_object_below_a_prefix_is_removed_and_no_other(rig: Rig) -> None:
    keys = ["exports/one/a.xml", "exports/one/b.xml", "exports/one-and-more/a.xml"]
    for key in keys:
        rig.put(rig.bucket.presign_upload(terms_of(key=key), VALID), BODY)

    rig.bucket.delete_below("exports/one/")
    rig.bucket.delete_below("exports/one/")

    assert [key for key in keys if rig.bucket.stat(key) is not None] == keys[2:]


def test_nothing_is_known_of_an_object_that_is_not_there(rig: Rig) -> None:
    assert rig.bucket.stat("outputs/none/1/mods.xml") is None


@pytest.mark.parametrize("rig", ["s3", "gcs"], indirect=True)
@pytest.mark.parametrize("other", [b"", BODY + b"more", BODY.replace(b"title", b"tItle")])
def test_headers_that_fit_another_body_do_not_fit_the_signature(rig: Rig, other: bytes) -> None:
    """An uploader that declares the other body's own length and digest is refused as well."""
    upload = rig.bucket.presign_upload(terms_of(), VALID)
    its_own = rig.bucket.presign_upload(terms_of(other), VALID)
    assert not put_bytes(upload.url, its_own.headers, other).is_success
    assert rig.bucket.stat(terms_of().key) is None


@pytest.mark.parametrize("rig", ["s3", "gcs"], indirect=True)
def test_no_header_that_the_body_is_compared_with_may_be_left_out_or_be_another_bodys(rig: Rig) -> None:
    """The service compares the body with the headers that come, so each of them must be signed."""
    other = BODY.replace(b"title", b"tItle")
    upload, its_own = (rig.bucket.presign_upload(terms_of(body), VALID) for body in (BODY, other))
    differing = [name for name, value in its_own.headers.items() if upload.headers[name] != value]
    assert len(differing) == 2  # the checksum, and the one in the metadata
    for name in differing:
        without = {one: value for one, value in upload.headers.items() if one != name}
        assert not put_bytes(upload.url, without, other).is_success
        assert not put_bytes(upload.url, {**without, name: its_own.headers[name]}, other).is_success
    assert rig.bucket.stat(terms_of().key) is None


@pytest.mark.parametrize("rig", ["s3", "gcs"], indirect=True)
@pytest.mark.parametrize("change", ["content-type", "meta-sha256"])
def test_every_header_but_the_hosts_own_is_bound(rig: Rig, change: str) -> None:
    upload = rig.bucket.presign_upload(terms_of(), VALID)
    changed = {name: "0" * 64 if change in name else value for name, value in upload.headers.items()}
    without = {name: value for name, value in upload.headers.items() if change not in name}
    assert len(without) == len(upload.headers) - 1
    assert not put_bytes(upload.url, changed, BODY).is_success
    assert not put_bytes(upload.url, without, BODY).is_success
    assert rig.bucket.stat(terms_of().key) is None


@pytest.mark.parametrize("rig", ["s3", "gcs"], indirect=True)
def test_a_url_without_its_signature_opens_nothing(rig: Rig) -> None:
    terms = terms_of()
    rig.put(rig.bucket.presign_upload(terms, VALID), BODY)
    url = rig.bucket.presign_download(terms.key, "mods.xml", VALID)
    assert plain_http.get(url.partition("?")[0], timeout=ANSWER_SECONDS).status_code in (401, 403)


def test_the_host_that_was_signed_counts_and_not_the_address_that_was_reached(s3: HttpRig) -> None:
    upload = s3.bucket.presign_upload(terms_of(), VALID)
    signed_for = urlsplit(upload.url).netloc
    gateway = upload.url.replace(LOOPBACK, "127.1")  # the same address, under a name that needs no /etc/hosts
    assert not put_bytes(gateway, upload.headers, BODY).is_success
    assert put_bytes(gateway, {**upload.headers, "host": signed_for}, BODY).is_success


def put_by_hand(s3: HttpRig, bucket_name: str, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
    """Upload an object that is not on our terms."""
    there = urlsplit(s3.bucket.presign_upload(terms_of(), VALID).url)
    client = s3_client(f"{there.scheme}://{there.netloc}", REGION, ACCESS_KEY, SECRET)
    client.put_object(Bucket=bucket_name, Key=key, Body=body, Metadata=dict(metadata))
    client.close()


def test_an_object_not_uploaded_on_our_terms_has_no_sha256(s3: HttpRig, bucket_name: str) -> None:
    put_by_hand(s3, bucket_name, "by-hand", b"x", {})
    assert s3.bucket.stat("by-hand") == StoredObject(1, None)


def test_a_service_that_keeps_no_sha256_is_asked_for_the_signed_metadata(s3: HttpRig, bucket_name: str) -> None:
    put_by_hand(s3, bucket_name, "as-on-r2", BODY, {"sha256": terms_of().sha256})
    assert s3.bucket.stat("as-on-r2") == StoredObject(len(BODY), terms_of().sha256)


def test_a_bucket_out_of_reach_is_unavailable() -> None:
    client = s3_client(f"http://{LOOPBACK}:{free_port()}", REGION, ACCESS_KEY, SECRET)
    with pytest.raises(Unavailable):
        S3Bucket(client, BUCKET).stat("any")
    client.close()


def test_a_key_that_the_service_does_not_take_is_unavailable_and_not_absent(gcs: HttpRig) -> None:
    stranger = LocalGcs(Clock())
    with serving(stranger) as url, serving(Response(status=403)) as closed:
        client = Client(project="p", credentials=stranger.credentials(url), client_options={"api_endpoint": closed})
        with pytest.raises(Unavailable):
            GcsBucket(client, BUCKET).stat("any")
        client.close()


def test_the_local_s3_serves_from_its_own_processes_and_refuses_the_unsigned(tmp_path: Path) -> None:
    port = free_port()
    servers = start_s3(port, tmp_path, ACCESS_KEY, SECRET, BUCKET)
    try:
        endpoint = f"http://{LOOPBACK}:{port}"
        bucket = open_bucket(
            f"s3://{BUCKET}", endpoint=endpoint, region=REGION, access_key_id=ACCESS_KEY, secret=SECRET
        )
        upload = bucket.presign_upload(terms_of(), VALID)
        assert put_bytes(upload.url, upload.headers, BODY).is_success
        assert bucket.stat(terms_of().key) == StoredObject(len(BODY), terms_of().sha256)
        assert plain_http.get(f"{endpoint}/{BUCKET}", timeout=ANSWER_SECONDS).status_code == 403
        logged = "".join(file.read_text() for file in tmp_path.iterdir())
        assert parse_qs(urlsplit(upload.url).query)["X-Amz-Signature"][0] not in logged
    finally:
        for server in servers:
            stop(server)


def test_a_url_is_signed_for_the_region_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "LAUNCHYARD_BUCKET": f"s3://{BUCKET}",
        "LAUNCHYARD_S3_ENDPOINT": "https://s3.eu-central-1.amazonaws.com",
        "LAUNCHYARD_S3_REGION": "eu-central-1",
        "LAUNCHYARD_S3_ACCESS_KEY_ID": ACCESS_KEY,
        "LAUNCHYARD_S3_SECRET_ACCESS_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)

    url = cloud.bucket(BucketSettings()).presign_download("outputs/a", "a.xml", VALID)

    (credential,) = parse_qs(urlsplit(url).query)["X-Amz-Credential"]
    assert credential.split("/")[2] == "eu-central-1"


@pytest.mark.parametrize("url", ["outputs", "s3://", "ftp://outputs", "file:///outputs"])
def test_a_bucket_url_of_another_kind_is_invalid(url: str) -> None:
    with pytest.raises(Invalid):
        open_bucket(url)


def test_one_request_uploads_any_output_to_cloud_storage(gcs: HttpRig) -> None:
    assert gcs.bucket.part_uploads is None


def test_a_checksum_of_checksums_is_not_taken_for_the_sha256() -> None:
    """S3 shows one for an object that an image uploaded in parts: moto shows it without the number of parts."""
    client = s3_client("http://s3.test", REGION, ACCESS_KEY, SECRET)
    with Stubber(client) as stubber:
        of_two_parts = f"{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}-2"
        stubber.add_response(
            "head_object",
            {
                "ContentLength": len(BODY),
                "ChecksumSHA256": of_two_parts,
                "ETag": '"parts-2"',
                "Metadata": {"sha256": "0" * 64},
            },
        )
        assert S3Bucket(client, BUCKET).stat("by-an-image") == StoredObject(len(BODY), "0" * 64, '"parts-2"')
    client.close()
