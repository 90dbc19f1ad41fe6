"""R2's limits on bodies and on the parts of an upload, which the checking proxy keeps."""

import pytest

from emulators.r2.bodies import MAX_DOCUMENT, MAX_UPLOAD, check_framing, require_size
from emulators.r2.multipart import MIN_PART, check_parts
from emulators.r2.request import NotAllowed


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip,aws-chunked"},
        {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
        {"x-amz-trailer": "x-amz-checksum-crc32"},
    ],
)
def test_each_sign_of_a_chunked_body_is_enough_to_refuse_it(headers: dict[str, str]) -> None:
    with pytest.raises(NotAllowed, match="request_checksum_calculation") as refused:
        check_framing(headers)
    assert (refused.value.status, refused.value.code) == (501, "NotImplemented")


def test_a_body_of_unknown_length_is_refused() -> None:
    with pytest.raises(NotAllowed, match="Content-Length"):
        check_framing({"transfer-encoding": "chunked"})


@pytest.mark.parametrize(("method", "limit"), [("PUT", MAX_UPLOAD), ("POST", MAX_DOCUMENT)])
def test_a_body_may_have_the_limits_size_and_not_one_byte_more(method: str, limit: int) -> None:
    require_size(method, limit)
    with pytest.raises(NotAllowed):
        require_size(method, limit + 1)


def test_parts_are_of_one_size_except_for_a_shorter_last_one() -> None:
    for sizes in ([0], [1], [MIN_PART, 1], [MIN_PART + 1, MIN_PART + 1], [MIN_PART, MIN_PART, MIN_PART]):
        check_parts(sizes)


@pytest.mark.parametrize(
    ("sizes", "code"),
    [
        ([MIN_PART - 1, 1], "EntityTooSmall"),
        ([MIN_PART, MIN_PART + 1, 1], "InvalidPart"),
        ([MIN_PART + 1, MIN_PART, 1], "InvalidPart"),
        ([MIN_PART, MIN_PART + 1], "InvalidPart"),
    ],
)
def test_parts_of_other_sizes_are_refused(sizes: list[int], code: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        check_parts(sizes)
    assert (refused.value.status, refused.value.code) == (400, code)
