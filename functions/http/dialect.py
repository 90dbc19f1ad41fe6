"""How a contract speaks HTTP: each has its own errors, its own way to read a body, and its own words for keys."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from functions.domain.refusals import Refusal
from functions.http import problems
from functions.http.authentication import Caller, authenticate
from functions.http.parsing import parse_body, parse_query
from shared.wire.problems import Problem

NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class RefusalResponse:
    """A refusal as it is answered."""

    status: HTTPStatus
    document: str
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """`authenticate` is called with `access`, `authorization` (the header, or None), and with services by their type
    (see `handlers`). `internal` is the answer to an error that is ours.

    For the OpenAPI document: `error` is the form of every refusal, and `statuses` are refusals that any route may
    answer with, beside those that follow from the route itself.
    """

    authenticate: Callable[..., Caller]
    body: Callable[[bytes, TypeAdapter[Any]], Any]
    query: Callable[[Iterable[tuple[str, str]], type[BaseModel]], BaseModel]
    refused: Callable[[Refusal], RefusalResponse]
    internal: RefusalResponse
    error: TypeAdapter[Any]
    statuses: frozenset[HTTPStatus] = frozenset()
    identifies_launchers: bool = False
    """Whether its callers may send their identity in the header IDENTITY_HEADER."""


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
