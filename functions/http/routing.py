"""Routes as data."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel, TypeAdapter
from werkzeug.routing import Map, MapAdapter, Rule

from functions.domain.refusals import NotFound, Refusal
from functions.http.authentication import Access
from functions.http.handlers import Signature, WrongHandler, read_signature
from shared.wire.base import OrderId

ID: Final[TypeAdapter[str]] = TypeAdapter(OrderId)
"""The ids in paths: of orders, and all others are narrower."""
PATH_NAME: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that sends the caller to another URL."""

    url: str


@dataclass(frozen=True, slots=True)
class NoContent:
    """An empty answer."""


Answer = BaseModel | Redirect | NoContent


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One method of one path. What the handler is called with, and what it answers, its own signature says.

    Raises WrongHandler if the handler does not fit the route.
    """

    method: str
    path: str
    access: Access
    handler: Callable[..., Answer]
    summary: str
    max_bytes: int = 64 * 1024
    """Of a request's body."""
    status: HTTPStatus = HTTPStatus.OK
    location: str | None = None
    """Where the created thing is from now on: a path that is filled with the answer's fields."""
    missing: str = "There is no such order."
    """The refusal if what the path names cannot be an id at all."""
    degraded: BaseModel | None = None
    """The answer if the store is unavailable; None: 503."""
    conflicts: bool = False
    """Whether it may be refused for the present state (409), or a former one (410)."""
    head: bool = True
    """For GET: whether HEAD is answered like it. False if the answer is good for a GET only, or used up by it."""
    signature: Signature = field(init=False)

    def __post_init__(self) -> None:
        signature = read_signature(self.handler, self.access, frozenset(PATH_NAME.findall(self.path)))
        if signature.body is not None and signature.query is not None:
            raise WrongHandler(f"{self.method} {self.path}: a handler takes a body or a query.")
        object.__setattr__(self, "signature", signature)

    @property
    def answer(self) -> type[BaseModel] | None:
        """The model that is answered; None: a redirect, or an empty answer."""
        answer = self.signature.answer
        return answer if isinstance(answer, type) and issubclass(answer, BaseModel) else None


class NoSuchPath(NotFound):
    """No route has the path."""

    def __init__(self) -> None:
        super().__init__("There is nothing at this path.")


class WrongMethod(Refusal):
    """`allowed` names the methods that the path has."""

    code = "method_not_allowed"
    title = "The path has no such method"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


def url_map(routes: Sequence[Route]) -> MapAdapter:
    """Return what finds the route of a method and path, which is its `endpoint`."""
    return Map([_rule(route) for route in routes], merge_slashes=False).bind("control-plane")


def _rule(route: Route) -> Rule:
    path = route.path.replace("{", "<").replace("}", ">")
    rule = Rule(path, methods=[route.method], endpoint=route)
    if rule.methods is not None and not route.head:
        rule.methods.discard("HEAD")  # werkzeug adds it to each GET
    return rule
