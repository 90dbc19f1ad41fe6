"""Reads the header `Range` (RFC 9110, section 14) of a request for a part of a file."""

import re
from typing import Final

ONE_RANGE: Final = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})", re.IGNORECASE)


class NotSatisfiable(Exception):
    """The range begins behind the file's end."""


def part_of(size: int, requested: str | None) -> tuple[int, int] | None:
    """Return the first and the last byte of the requested part; None for the whole file.

    Several ranges, or what is no range, count as the whole file, as the RFC allows. Raises NotSatisfiable.
    """
    found = ONE_RANGE.fullmatch((requested or "").replace(" ", ""))
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise NotSatisfiable
        return max(size - int(last), 0), size - 1
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise NotSatisfiable
    return int(first), min(int(last), size - 1) if last else size - 1
