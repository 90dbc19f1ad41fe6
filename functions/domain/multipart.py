"""Divides a large output into equal parts, as R2 demands: only the last one may be smaller."""

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
MAX_PARTS: Final = 1024
"""With R2's largest part (5 GiB less 5 MiB), these hold exactly R2's largest object (5 TiB less 5 GiB)."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """`single` is the most that one request may upload, `smallest` the least size of a part but the last, in bytes.

    `smallest` is a multiple of 1 MiB.
    """

    single: int
    smallest: int


@dataclass(frozen=True, slots=True)
class Part:
    """A range of the output, in bytes. Numbers count from 1."""

    number: int
    offset: int
    size: int


def parts_of(size: int, limits: PartLimits) -> tuple[Part, ...]:
    """Return the parts of an output, at most 1,024.

    They depend on its size alone, so that every request for the same upload finds the same parts. The part's size is a
    multiple of 1 MiB.
    """
    part = max(limits.smallest, -(-size // (MAX_PARTS * MIB)) * MIB)
    offsets = range(0, size, part)
    return tuple(Part(number, offset, min(part, size - offset)) for number, offset in enumerate(offsets, 1))
