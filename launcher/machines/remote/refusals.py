"""What a cloud's refusal is about: told from its status, its code and its words by the first rule that fits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeVar

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class RefusalRule(Generic[Kind]):
    """Refusals of a kind: with one of these statuses, these words, and one of these codes. Empty means any."""

    kind: Kind
    statuses: frozenset[HTTPStatus] = frozenset()
    words: str = ""
    codes: frozenset[str] = frozenset()

    def fits(self, status: int, text: str, code: str) -> bool:
        return (
            (not self.codes or code in self.codes)
            and (not self.statuses or status in self.statuses)
            and re.search(self.words, text) is not None
        )


def kind_of(rules: Sequence[RefusalRule[Kind]], other: Kind, status: int, text: str, code: str = "") -> Kind:
    """Return the kind of the first rule that fits, and `other` if none does."""
    return next((rule.kind for rule in rules if rule.fits(status, text, code)), other)
