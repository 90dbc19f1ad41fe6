"""How families of routes speak HTTP: each contract has its own errors, and its own way to read a body."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from functions.app import App
from functions.domain.refusals import Refusal
from functions.http import problems
from functions.http.authentication import Access, Caller, authenticate
from functions.http.parsing import parse_body, parse_query
from shared.wire.problems import Problem

NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal as it is answered."""

    status: HTTPStatus
    document: str
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Face:
    """`internal` is told where nobody foresaw what went wrong."""

    authenticate: Callable[[Access, str | None, App], Caller]
    body: Callable[[bytes, TypeAdapter[Any]], Any]
    query: Callable[[Iterable[tuple[str, str]], type[BaseModel]], BaseModel]
    refused: Callable[[Refusal], Refused]
    internal: Refused


def _problem(problem: Problem, headers: Mapping[str, str] = NO_HEADERS) -> Refused:
    document = problem.model_dump_json(exclude_defaults=True)
    return Refused(HTTPStatus(problem.status), document, problems.MEDIA_TYPE, headers)


NATIVE: Final = Face(
    authenticate=lambda access, authorization, app: authenticate(access, authorization, app.keys),
    body=parse_body,
    query=parse_query,
    refused=lambda refusal: _problem(problems.problem(refusal), problems.headers(refusal)),
    internal=_problem(problems.INTERNAL),
)
