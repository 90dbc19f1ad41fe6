"""What a sweep does besides settling due orders: the chores of the APIs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chores:
    """Each takes the most records to read of a kind, and returns how many of what it did."""

    of_apis: Sequence[Callable[..., Counter[str]]]

    def run(self, limit: int) -> Counter[str]:
        """Return the sums, by the names of SweepAnswer's fields. Raises Unavailable."""
        return sum((chore(limit=limit) for chore in self.of_apis), start=Counter())
