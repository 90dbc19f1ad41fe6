"""Routes as data, and finding the one that a request means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.exceptions import NotFound as NoRule
from werkzeug.routing import Map, Rule

from functions.domain.refusals import NotFound, Refusal
from functions.http.authentication import Access
from shared.wire.base import OrderId

ID: Final[TypeAdapter[str]] = TypeAdapter(OrderId)
"""The ids in paths: of orders, and all others are narrower."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that says where the thing is."""

    url: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """It is done, and there is nothing to say of it."""


Answer = BaseModel | Redirect | Nothing


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. The handler is called with what the route declares, in this order: the parsed body or
    query, the caller, the App; then by name the ids in the path, `idempotency_key` if `keyed`, and `present` if
    it `waits`."""

    method: str
    path: str
    access: Access
    handler: Callable[..., Answer]
    summary: str
    answer: type[BaseModel] | None
    """None: a redirect, or nothing where the status says so."""
    body: TypeAdapter[Any] | None = None
    query: type[BaseModel] | None = None
    most_bytes: int = 64 * 1024
    """Of a request's body."""
    keyed: bool = False
    waits: bool = False
    """Whether the handler is given `present`, which says whether the caller is still there."""
    status: HTTPStatus = HTTPStatus.OK
    location: str | None = None
    """Where the answer's thing is from now on: a path to fill with its fields."""
    missing: str = "There is no such order."
    """What to say where what the path names cannot be an id at all."""
    degraded: BaseModel | None = None
    """What is answered where we do not know better, for the store does not answer; None: 503."""
    conflicts: bool = False
    """Whether it may be refused for what stands (409), or stood (410)."""
    head: bool = True
    """For GET: whether HEAD is answered like it. Not if what it answers with is good for a GET only, or used up."""


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


class Routes:
    """The routes of one entry point."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._paths = Map([_rule(route) for route in routes], merge_slashes=False).bind("control-plane")

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Return the route and what its path says. Raises NotFound, WrongMethod."""
        try:
            route, named = self._paths.match(path, method)
        except NoRule:
            raise NoSuchPath from None
        except MethodNotAllowed as error:
            allowed = sorted(error.valid_methods or ())
            raise WrongMethod(f"This path takes {', '.join(allowed)}.", allowed) from None
        return route, {name: _id(value, route) for name, value in named.items()}


def _rule(route: Route) -> Rule:
    path = route.path.replace("{", "<").replace("}", ">")
    rule = Rule(path, methods=[route.method], endpoint=route)
    if rule.methods is not None and not route.head:
        rule.methods.discard("HEAD")  # werkzeug adds it to each GET
    return rule


def _id(text: str, route: Route) -> str:
    try:
        return ID.validate_python(text)
    except ValidationError:
        raise NotFound(route.missing) from None
