"""Errors, as problem documents (RFC 9457)."""

from typing import Final

from shared.wire.base import Answer, AnyState

OTHER_VERSION: Final = "other_version"
"""The code for an order that another version of the control plane wrote: an instance of that version can answer."""


class FieldError(Answer):
    field: str
    message: str


class Problem(Answer):
    """A problem document (RFC 9457, `application/problem+json`), with `state` and `errors` if they apply."""

    type: str
    title: str
    status: int
    detail: str
    state: AnyState | None = None
    errors: tuple[FieldError, ...] = ()
