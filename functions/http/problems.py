"""Converts refusals to problem documents (RFC 9457). The family of a refusal decides the status."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from functions.domain.refusals import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Malformed,
    NotFound,
    QuotaExceeded,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
    WrongState,
)
from functions.http.parsing import BodyTooSlow, WrongContentType
from functions.http.routing import WrongMethod
from shared.domain.order import State
from shared.wire.problems import FieldError, Problem

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:launchyard:problem:"
RETRY_SECONDS: Final = 2

STATUSES: Final[Mapping[type[Refusal], HTTPStatus]] = {
    Malformed: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    WrongMethod: HTTPStatus.METHOD_NOT_ALLOWED,
    BodyTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    Conflict: HTTPStatus.CONFLICT,
    Gone: HTTPStatus.GONE,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    WrongContentType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

INTERNAL: Final = Problem(
    type=f"{TYPE}internal",
    title="Something went wrong here",
    status=HTTPStatus.INTERNAL_SERVER_ERROR.value,
    detail="The error was logged. You may send the same request again.",
)


def problem(refusal: Refusal) -> Problem:
    """Return the problem document of a refusal. It contains nothing that the caller may not know."""
    fields = refusal.fields if isinstance(refusal, Invalid) else {}
    return Problem(
        type=f"{TYPE}{refusal.code}",
        title=refusal.title,
        status=status(refusal).value,
        detail=refusal.message,
        state=State(refusal.state) if isinstance(refusal, WrongState) else None,
        errors=tuple(FieldError(field=field, message=message) for field, message in fields.items()),
    )


def headers(refusal: Refusal) -> Mapping[str, str]:
    """Return the headers that HTTP requires for such a refusal (RFC 9110)."""
    match refusal:
        case Unauthenticated():
            return {"WWW-Authenticate": 'Bearer realm="launchyard"'}
        case WrongMethod():
            return {"Allow": ", ".join(refusal.allowed)}
        case QuotaExceeded():
            return {"Retry-After": str(refusal.retry_seconds)}
        case Unavailable():
            return {"Retry-After": str(RETRY_SECONDS)}
        case _:
            return {}


def status(refusal: Refusal) -> HTTPStatus:
    return next(STATUSES[family] for family in type(refusal).__mro__ if family in STATUSES)
