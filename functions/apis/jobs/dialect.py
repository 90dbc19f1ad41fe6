"""The HTTP dialect of agent jobs: `{"detail": …}` for every error, FastAPI's bodies, CORS, and keys in addresses."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from functions.apis.jobs.settings import JobsSettings
from functions.domain.access import Role
from functions.domain.refusals import Invalid, Refusal
from functions.http import problems, validation
from functions.http.authentication import Access, Caller, keyed_or_open
from functions.http.cors import Cors
from functions.http.dialect import Dialect, RefusalResponse
from functions.http.routing import NoSuchPath, WrongMethod
from functions.http.validation import Unprocessable, parse_query
from functions.ports.keys import KeyStore

CLIENTS: Final = frozenset({Role.ADMIN, Role.CLIENT})
LAUNCHERS: Final = frozenset({Role.ADMIN, Role.LAUNCHER})
METHODS: Final = ("GET", "POST", "PATCH", "DELETE", "OPTIONS")
ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape in a JSON text. `half` is one of the two that make a character, without the other."""
REPLACEMENT: Final = r"\ufffd"
REPEATS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The pauses, in seconds, between the tries of a request that a launcher sends only once. It waits 35 s for the answer;
a report counts even if it has hung up.
"""
CORS: Final = Cors(METHODS, ("Content-Type", "Authorization", "Idempotency-Key"), 86_400)


class ErrorAnswer(BaseModel):
    """The body of every error. If `detail` is a list, it has `type`, `loc` and `msg` of each wrong field."""

    detail: str | list[dict[str, Any]]


class StopFailed(Refusal):
    """The job's launcher was removed, so that no stop command can reach it."""

    code = "stop_failed"
    title = "The job cannot be stopped"


def authenticate(access: Access, authorization: str | None, keys: KeyStore, settings: JobsSettings) -> Caller:
    """Return the caller: without a key, the account to which the API is open. Raises Unauthenticated, Forbidden."""
    return keyed_or_open(access, authorization, keys, settings.open_to)


def parse_body(body: bytes, model: TypeAdapter[Any]) -> Any:
    """Return the body as the model. A route whose body may be null takes none, too. Raises Unprocessable.

    Characters that are cut in two are replaced: a launcher sends the end of what a process wrote, and if its report is
    refused, it is lost.
    """
    if not body:
        with suppress(ValidationError):
            return model.validate_python(None)
    whole = ESCAPE.sub(lambda found: REPLACEMENT if found["half"] else found[0], body.decode(errors="replace"))
    return validation.parse_body(whole.encode(), model)


def refused(refusal: Refusal) -> RefusalResponse:
    headers = problems.headers(refusal)
    match refusal:
        case Unprocessable():
            return _detail(HTTPStatus.UNPROCESSABLE_ENTITY, list(refusal.errors))
        case Invalid():
            listed = [{"type": "value_error", "loc": ["body", name], "msg": text} for name, text in _fields(refusal)]
            return _detail(HTTPStatus.UNPROCESSABLE_ENTITY, listed)
        case StopFailed():
            return _detail(HTTPStatus.INTERNAL_SERVER_ERROR, refusal.message)
        case NoSuchPath():
            return _detail(HTTPStatus.NOT_FOUND, "Not Found")
        case WrongMethod():
            return _detail(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", headers)
        case _:
            return _detail(problems.status(refusal), refusal.message, headers)


def _fields(refusal: Invalid) -> list[tuple[str, str]]:
    return list(refusal.fields.items()) or [("", refusal.message)]


def _detail(status: HTTPStatus, detail: object, headers: Mapping[str, str] | None = None) -> RefusalResponse:
    return RefusalResponse(status, json.dumps({"detail": detail}), headers=headers or {})


DIALECT: Final = Dialect(
    authenticate=authenticate,
    body=parse_body,
    query=parse_query,
    refused=refused,
    internal=_detail(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"),
    error=TypeAdapter(ErrorAnswer),
    statuses=frozenset(
        {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        }
    ),
    key_in_path=True,
    cors=CORS,
)
