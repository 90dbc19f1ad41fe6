"""The types that every message of the native wire is made of.

A request is read strictly: unknown fields and wrong types are refused. An answer may be read by an earlier version: it
ignores unknown fields, and keeps an unknown value of a closed list as text.

Times are RFC 3339 in UTC; sizes are bytes; digests are lower-case hex.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.domain.order import ORDER_ID_PATTERN, Reason, State
from shared.domain.spec import OrderKind

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
OrderId = Annotated[str, StringConstraints(pattern=rf"^{ORDER_ID_PATTERN}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FILE_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""A regular expression for the whole name: one without a path, which needs no quoting in a header."""
FileName = Annotated[str, StringConstraints(pattern=rf"^{FILE_NAME_PATTERN}$")]
ContentType = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z0-9.+-]+$", max_length=100)]
MAX_TEXT = 4000
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Epoch = Annotated[int, Field(ge=1)]


class Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Answer(BaseModel):
    """You may add fields, and values to closed lists. Remove no field, and change no field's type."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


LEFT_TO_RIGHT = Field(union_mode="left_to_right")

AnyState = Annotated[State | str, LEFT_TO_RIGHT]
AnyReason = Annotated[Reason | str, LEFT_TO_RIGHT]
AnyKind = Annotated[OrderKind | str, LEFT_TO_RIGHT]

A = TypeVar("A", bound=Answer)


def read_answer(kind: type[A], document: bytes) -> A:
    """Parse a JSON document as an answer of this kind. Raises ValidationError."""
    return kind.model_validate_json(document, extra="ignore")  # inside specs, too
