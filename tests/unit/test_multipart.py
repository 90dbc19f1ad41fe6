"""How a large output is divided: within the limits of S3 and R2, whatever its size."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.adapters.s3 import LIMITS
from functions.domain.multipart import MAX_PARTS, MIB, parts_of
from shared.wire.workers import MAX_OUTPUT_BYTES
from worker.uploads import LARGE_BYTES

GIB: Final = 1024 * MIB
MIN_PART: Final = 5 * MIB
MAX_PART: Final = 5 * GIB - 5 * MIB
"""R2's limit; S3 takes 5 MiB more."""


@given(st.integers(1, MAX_OUTPUT_BYTES))
def test_the_parts_are_equal_but_the_last_and_cover_the_output(size: int) -> None:
    parts = parts_of(size, LIMITS)

    assert [part.number for part in parts] == [*range(1, len(parts) + 1)]
    assert len(parts) <= MAX_PARTS
    assert [part.offset for part in parts] == [number * parts[0].size for number in range(len(parts))]
    assert {part.size for part in parts[:-1]} <= {parts[0].size}
    assert 0 < parts[-1].size <= parts[0].size <= MAX_PART
    assert parts[-1].offset + parts[-1].size == size
    if len(parts) > 1:
        assert parts[0].size >= MIN_PART
        assert parts[0].size % MIB == 0


@pytest.mark.parametrize(
    ("size", "count", "part"),
    [
        (LARGE_BYTES + 1, 80, 64 * MIB),
        (64 * GIB, 1024, 64 * MIB),
        (64 * GIB + 1, 1009, 65 * MIB),
        (MAX_OUTPUT_BYTES, 1024, MAX_PART),
    ],
)
def test_parts_grow_with_the_output(size: int, count: int, part: int) -> None:
    parts = parts_of(size, LIMITS)

    assert (len(parts), parts[0].size) == (count, part)


def test_a_worker_asks_for_parts_where_one_request_would_be_too_large() -> None:
    assert LIMITS.single == LARGE_BYTES
