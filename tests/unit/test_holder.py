"""The holder of an order: an account's launcher, by its name and its identity."""

import pytest

from functions.domain.holder import are_one, holder_of, means

ONE, OTHER = "0c1f8c0e-0000-4000-8000-000000000001", "0c1f8c0e-0000-4000-8000-000000000002"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (holder_of("rack", "alpha", ONE), holder_of("rack", "alpha", ONE), True),
        (holder_of("rack", "alpha", ONE), holder_of("rack", "alpha", OTHER), False),
        (holder_of("rack", "alpha"), holder_of("rack", "alpha", ONE), True),
        (holder_of("rack", "alpha"), holder_of("rack", "alpha"), True),
        (holder_of("rack", "alpha", ONE), holder_of("rack", "beta", ONE), False),
        (holder_of("rack", "alpha", ONE), holder_of("attic", "alpha", ONE), False),
        (holder_of("rack", "alpha"), holder_of("rack", "alph"), False),
        (holder_of("an#account", "alpha", ONE), holder_of("an#account", "alpha", OTHER), False),
    ],
)
def test_two_texts_are_of_one_launcher_if_name_and_identity_agree_as_far_as_they_are_known(
    one: str, other: str, expected: bool
) -> None:
    assert are_one(one, other) is expected
    assert are_one(other, one) is expected


def test_a_name_without_identity_means_every_identity_of_the_name_and_nobody_elses() -> None:
    asked = holder_of("rack", "alpha")

    assert all(means(asked, holder_of("rack", "alpha", one)) for one in (None, ONE, OTHER))
    assert not any(means(asked, holder_of("rack", name, one)) for name in ("alpha-2", "alph") for one in (None, ONE))


def test_an_identity_means_itself_alone() -> None:
    asked = holder_of("rack", "alpha", ONE)

    assert means(asked, asked)
    assert not any(means(asked, holder_of("rack", "alpha", one)) for one in (None, OTHER))
