"""What a scenario may leave in the bucket."""

import pytest

from functions.domain.order import output_key
from tests.crash.outcome import wrong_objects

ORDER = "0f4d8f0a-5f0e-4c43-8a3e-6f1f6f6a2c11"
SECOND, FIRST, OTHER = (
    output_key(ORDER, epoch, digit * 64, "text/plain") for epoch, digit in ((2, "a"), (1, "a"), (2, "b"))
)


@pytest.mark.parametrize(("accepted", "found"), [(None, []), (1, [FIRST]), (2, [SECOND]), (2, [FIRST, SECOND, OTHER])])
def test_an_order_may_have_its_output_and_what_its_earlier_attempts_uploaded(
    accepted: int | None, found: list[str]
) -> None:
    assert wrong_objects(ORDER, accepted, found) is None


@pytest.mark.parametrize(
    ("accepted", "found"),
    [
        (None, [FIRST]),
        (2, []),
        (2, [FIRST]),
        (1, [FIRST, SECOND]),
        (2, [f"outputs/{ORDER}/12/a", SECOND]),
    ],
)
def test_an_order_may_not_lack_its_output_or_have_any_other_object(accepted: int | None, found: list[str]) -> None:
    assert wrong_objects(ORDER, accepted, found) is not None
