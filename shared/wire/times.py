"""Times on the wire: RFC 3339 in a request, UTC after parsing."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

PATTERN: Final = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$"
RFC_3339: Final = re.compile(PATTERN, re.ASCII)
"""https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""


def _read(value: object) -> object:
    """Parse RFC 3339 only. Pydantic would also take a number of seconds in quotes: it reads "20261225" as 1970."""
    if not isinstance(value, str):
        return value
    if RFC_3339.fullmatch(value) is None:
        raise _wrong_time()
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError:
        raise _wrong_time() from None


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time", "Input should be within the years 1 to 9999 of UTC") from None


def _wrong_time() -> PydanticCustomError:
    return PydanticCustomError(
        "time", "Input should be a date, a time and a zone as in RFC 3339, such as 2026-12-25T08:00:00Z"
    )


Time = Annotated[
    AwareDatetime,
    BeforeValidator(_read),
    AfterValidator(_in_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": PATTERN}),
]
"""The type of every time in a request. Two texts that name the same instant are equal."""
