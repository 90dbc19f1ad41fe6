"""A contract's HTTP dialect: its errors, its way to read a body or query, and its texts about keys."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from functions.domain.refusals import Refusal
from functions.http import problems
from functions.http.authentication import Caller, authenticate
from functions.http.cors import Cors
from functions.http.parsing import parse_body, parse_query
from shared.wire.problems import Problem

NO_HEADERS: Final[Mapping[str, str]] = {}
AUTHENTICATE_GIVEN: Final = frozenset({"access", "authorization"})
"""The parameters of a dialect's `authenticate` that are not services."""


@dataclass(frozen=True, slots=True)
class RefusalResponse:
    """The response to a refused request."""

    status: HTTPStatus
    document: str
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """`authenticate` is called with `access`, `authorization` (the header, or None), and with services by their type
    (see `handlers`). `internal` is the response to an unexpected error.

    For the OpenAPI document: `error` is the schema of every refusal, and `statuses` are those of refusals that any
    route may answer with, in addition to the route's own.
    """

    authenticate: Callable[..., Caller]
    body: Callable[[bytes, TypeAdapter[Any]], Any]
    query: Callable[[Iterable[tuple[str, str]], type[BaseModel]], BaseModel]
    refused: Callable[[Refusal], RefusalResponse]
    internal: RefusalResponse
    error: TypeAdapter[Any]
    statuses: frozenset[HTTPStatus] = frozenset()
    identifies_launchers: bool = False
    """Whether callers may send their identity in the header IDENTITY_HEADER."""
    key_in_path: bool = False
    """Whether a caller may send its key in front of the path, `/k/<key>/…`, in place of the header."""
    cors: Cors | None = None
    """What pages of other origins may send; None if they may not call the API."""


def _problem(problem: Problem, headers: Mapping[str, str] = NO_HEADERS) -> RefusalResponse:
    document = problem.model_dump_json(exclude_defaults=True)
    return RefusalResponse(HTTPStatus(problem.status), document, problems.MEDIA_TYPE, headers)


NATIVE: Final = Dialect(
    authenticate=authenticate,
    body=parse_body,
    query=parse_query,
    refused=lambda refusal: _problem(problems.problem(refusal), problems.headers(refusal)),
    internal=_problem(problems.INTERNAL),
    error=TypeAdapter(Problem),
    identifies_launchers=True,
)
