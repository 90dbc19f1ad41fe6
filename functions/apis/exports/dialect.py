"""The HTTP dialect of exports: `{"error": "<text>"}`, 400 for every wrong field, CORS, and keys in addresses."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel, TypeAdapter

from functions.apis.exports.settings import ExportsSettings
from functions.apis.exports.wire import REQUIRED
from functions.domain.refusals import Invalid, Refusal
from functions.http import problems
from functions.http.authentication import Access, Caller, keyed_or_open
from functions.http.cors import Cors
from functions.http.dialect import Dialect, RefusalResponse
from functions.http.parsing import parse_body, parse_query
from functions.http.routing import NoSuchPath, WrongMethod
from functions.ports.keys import KeyStore

UNKNOWN: Final = "Extra inputs are not permitted"
CORS: Final = Cors(("GET", "POST", "OPTIONS"), ("Content-Type", "Authorization", "Idempotency-Key"), 86_400)


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: str


class NoOutput(Refusal):
    """The export succeeded, but names no file."""

    code = "no_output"
    title = "There is no file"


def authenticate(access: Access, authorization: str | None, keys: KeyStore, settings: ExportsSettings) -> Caller:
    """Return the caller: without a key, the account to which the API is open. Raises Unauthenticated, Forbidden."""
    return keyed_or_open(access, authorization, keys, settings.open_to)


def missing(field: str) -> Invalid:
    """Return the contract's refusal of a body without this field."""
    return Invalid("Some fields of the body are wrong.", {field: REQUIRED})


def refused(refusal: Refusal) -> RefusalResponse:
    match refusal:
        case Invalid():
            return _error(HTTPStatus.BAD_REQUEST, _of_fields(refusal))
        case NoSuchPath() | WrongMethod():
            return _error(HTTPStatus.NOT_FOUND, "Not found")
        case NoOutput():
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, refusal.message)
        case _:
            return _error(problems.status(refusal), refusal.message, problems.headers(refusal))


def _of_fields(refusal: Invalid) -> str:
    texts = [_of_field(field, message) for field, message in refusal.fields.items()]
    return "; ".join(texts) or refusal.message


def _of_field(field: str, message: str) -> str:
    if message == REQUIRED:
        return f"Missing required field: {field}"
    return f"Unknown field: {field}" if message == UNKNOWN else f"Invalid field {field}: {message}"


def _error(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> RefusalResponse:
    return RefusalResponse(status, json.dumps({"error": text}), headers=headers or {})


DIALECT: Final = Dialect(
    authenticate=authenticate,
    body=parse_body,
    query=parse_query,
    refused=refused,
    internal=_error(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; you may send the same request again"),
    error=TypeAdapter(ErrorAnswer),
    statuses=frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}),
    key_in_path=True,
    cors=CORS,
)
