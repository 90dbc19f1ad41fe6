"""The contract's HTTP dialect: `{"error": "<text>"}` for every error, and 400 for whatever is wrong with a body."""

from http import HTTPStatus
from typing import Final

from pydantic import BaseModel, TypeAdapter

from functions.domain.refusals import Invalid, Refusal
from functions.http import problems
from functions.http.authentication import authenticate
from functions.http.dialect import Dialect, RefusalResponse
from functions.http.parsing import parse_body, parse_query


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: str


def refused(refusal: Refusal) -> RefusalResponse:
    if isinstance(refusal, Invalid):
        listed = "; ".join(f"{field}: {message}" for field, message in refusal.fields.items())
        return _error(HTTPStatus.BAD_REQUEST, listed or refusal.message)
    answer = _error(problems.status(refusal), refusal.message)
    return RefusalResponse(answer.status, answer.document, headers=problems.headers(refusal))


def _error(status: HTTPStatus, text: str) -> RefusalResponse:
    return RefusalResponse(status, ErrorAnswer(error=text).model_dump_json())


DIALECT: Final = Dialect(
    authenticate=authenticate,
    body=parse_body,
    query=parse_query,
    refused=refused,
    internal=_error(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here. Send the same request again."),
    error=TypeAdapter(ErrorAnswer),
    statuses=frozenset(
        {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.SERVICE_UNAVAILABLE,
        }
    ),
)
