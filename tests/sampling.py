"""Parameters of which `make test` tries a sample, and `make test-slow` the others."""

from collections.abc import Iterable
from typing import Any, Final

import pytest

EVERY: Final = 3
"""One of how many is in the sample."""


def sample(values: Iterable[Any], first: int = 0) -> list[Any]:
    """Return the values, or the tuples of values, as parameters; those that are not in the sample are slow.

    `first` is the position of the first that is in it.
    """
    tuples = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*one, marks=[pytest.mark.slow] if (at - first) % EVERY else []) for at, one in enumerate(tuples)
    ]
