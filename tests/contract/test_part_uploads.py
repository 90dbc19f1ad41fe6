"""The contract of uploads in parts, over the in-memory bucket and S3 (moto behind the checking proxy)."""

from datetime import timedelta
from typing import Final

import pytest

from functions.domain.multipart import MIB, Part, parts_of
from functions.ports.outputs import PartUploads, StoredObject, UploadTerms
from tests.contract.bucket_rigs import LIMITS, VALID, Downloaded, HttpRig, Rig, terms_of

LARGE: Final = b"12 bytes of " * MIB
"""Three parts: 5, 5 and 2 MiB."""
in_parts = pytest.mark.parametrize("rig", ["memory", "s3"], indirect=True)


def uploads_of(rig: Rig) -> PartUploads:
    assert rig.bucket.part_uploads is not None
    return rig.bucket.part_uploads


def put_part(rig: Rig, terms: UploadTerms, upload_id: str, part: Part, body: bytes = LARGE) -> bool:
    upload = uploads_of(rig).presign(terms.key, upload_id, part, VALID)
    return rig.put(upload, body[part.offset : part.offset + part.size])


@in_parts
def test_parts_sent_in_any_order_are_joined_and_known_by_the_declared_sha256(rig: Rig) -> None:
    terms, uploads = terms_of(LARGE), uploads_of(rig)
    upload_id = uploads.begin(terms)
    parts = parts_of(len(LARGE), LIMITS)
    assert [part.size // MIB for part in parts] == [5, 5, 2]
    for part in reversed(parts):
        assert put_part(rig, terms, upload_id, part)
    assert rig.bucket.stat(terms.key) is None

    found = uploads.find(terms.key, upload_id)

    assert found is not None
    assert {number: part.size for number, part in found.items()} == {part.number: part.size for part in parts}
    uploads.complete(terms.key, upload_id, found)
    assert rig.bucket.stat(terms.key) == StoredObject(len(LARGE), terms.sha256)
    downloaded = rig.get(rig.bucket.presign_download(terms.key, "large", VALID))
    assert downloaded is not None
    assert downloaded.body == LARGE


@in_parts
def test_the_completion_of_a_completed_upload_changes_nothing(rig: Rig) -> None:
    terms, uploads = terms_of(LARGE), uploads_of(rig)
    upload_id = uploads.begin(terms)
    for part in parts_of(len(LARGE), LIMITS):
        put_part(rig, terms, upload_id, part)
    found = uploads.find(terms.key, upload_id)
    assert found is not None
    for _ in range(2):
        uploads.complete(terms.key, upload_id, found)
    assert uploads.find(terms.key, upload_id) is None
    assert rig.bucket.stat(terms.key) == StoredObject(len(LARGE), terms.sha256)


@in_parts
def test_the_parts_that_are_there_are_found_again(rig: Rig) -> None:
    terms, uploads = terms_of(LARGE), uploads_of(rig)
    upload_id, second = uploads.begin(terms), parts_of(len(LARGE), LIMITS)[1]
    assert uploads.find(terms.key, upload_id) == {}
    for _ in range(2):
        assert put_part(rig, terms, upload_id, second)
        found = uploads.find(terms.key, upload_id)
        assert found is not None
        assert {number: part.size for number, part in found.items()} == {2: second.size}


@in_parts
@pytest.mark.parametrize("by", [-1, 1])
def test_a_part_of_another_length_is_refused_and_leaves_nothing(rig: Rig, by: int) -> None:
    terms, uploads = terms_of(LARGE), uploads_of(rig)
    upload_id, first = uploads.begin(terms), parts_of(len(LARGE), LIMITS)[0]
    upload = uploads.presign(terms.key, upload_id, first, VALID)
    assert not rig.put(upload, LARGE[: first.size + by])
    assert uploads.find(terms.key, upload_id) == {}


@in_parts
def test_an_expired_part_is_refused_and_can_be_granted_again(rig: Rig) -> None:
    terms, uploads = terms_of(LARGE), uploads_of(rig)
    upload_id, first = uploads.begin(terms), parts_of(len(LARGE), LIMITS)[0]
    upload = uploads.presign(terms.key, upload_id, first, VALID)
    rig.clock.ahead = VALID + timedelta(seconds=5)
    assert not rig.put(upload, LARGE[: first.size])
    rig.clock.ahead = timedelta(0)
    assert put_part(rig, terms, upload_id, first)


@in_parts
def test_an_aborted_upload_takes_no_part_and_is_not_found(rig: Rig) -> None:
    terms, uploads = terms_of(LARGE), uploads_of(rig)
    both, first = [uploads.begin(terms) for _ in range(2)], parts_of(len(LARGE), LIMITS)[0]
    put_part(rig, terms, both[0], first)
    for _ in range(2):
        uploads.abort(terms.key)
    for upload_id in both:
        assert uploads.find(terms.key, upload_id) is None
        assert not put_part(rig, terms, upload_id, first)


@in_parts
def test_an_abort_removes_what_is_below_its_key_and_keeps_other_keys(rig: Rig) -> None:
    uploads = uploads_of(rig)
    keys = {key: terms_of(LARGE, key) for key in ("outputs/order-1/1", "outputs/order-1/1/a.xml", "outputs/order-1/10")}
    begun = {key: uploads.begin(terms) for key, terms in keys.items()}
    uploads.abort("outputs/order-1/1")
    assert [key for key in begun if uploads.find(key, begun[key]) is not None] == ["outputs/order-1/10"]


def test_a_large_object_is_copied_in_parts(s3: HttpRig) -> None:
    terms = terms_of(LARGE)
    uploads = uploads_of(s3)
    upload_id = uploads.begin(terms)
    for part in parts_of(len(LARGE), LIMITS):
        assert put_part(s3, terms, upload_id, part)
    uploads.complete(terms.key, upload_id, uploads.find(terms.key, upload_id) or {})

    assert s3.bucket.copy(terms.key, "outputs/copy", "text/plain") == len(LARGE)

    downloaded = s3.get(s3.bucket.presign_download("outputs/copy", "large", VALID))
    assert downloaded == Downloaded("large", LARGE)
