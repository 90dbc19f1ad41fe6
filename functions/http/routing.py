"""Routes, and how a request finds its route."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from threading import Lock
from types import UnionType
from typing import Any, Final, get_args

from pydantic import BaseModel, TypeAdapter
from werkzeug.routing import Map, MapAdapter, Rule

from functions.domain.refusals import NotFound, Refusal
from functions.http.authentication import Access
from functions.http.handlers import Signature, WrongHandler, read_signature
from shared.wire.base import OrderId

ID: Final[TypeAdapter[str]] = TypeAdapter(OrderId)
"""The form of ids in paths, unless the route has another: that of order ids."""
PATH_NAME: Final = re.compile(r"\{(\w+)\}")
MAX_MAPS: Final = 32
_making = Lock()
SECRETS: Final = frozenset({"secret"})
"""The names in paths whose values are credentials: of any form, verified by the handler, and in no log line."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that sends the caller to another URL."""

    url: str


@dataclass(frozen=True, slots=True)
class NoContent:
    """An empty answer."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file, which is sent in parts if the caller asks for parts. If `url` is set, GET is redirected there.

    `size` is in bytes; `etag` is the entity tag with its quotes. `read` is called with the first and the last byte to
    send, and raises NotFound or Unavailable before it returns any.
    """

    file_name: str
    content_type: str
    size: int
    etag: str
    read: Callable[[int, int], Iterator[bytes]]
    url: str | None = None


Answer = BaseModel | Redirect | NoContent | Download


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One method of one path. The handler's signature defines its arguments and its answer.

    Raises WrongHandler if the handler does not fit the route.
    """

    method: str
    path: str
    access: Access
    handler: Callable[..., Answer]
    summary: str
    max_bytes: int = 64 * 1024
    """The limit of a request's body."""
    status: HTTPStatus = HTTPStatus.OK
    location: str | None = None
    """The path of the created resource, with the answer's fields as parameters."""
    redirect_status: HTTPStatus = HTTPStatus.TEMPORARY_REDIRECT
    """The status of a redirect."""
    missing: str = "There is no such order."
    """The refusal's text if the path's id does not have the form of one."""
    degraded: BaseModel | NoContent | None = None
    """The answer if the store is unavailable, or after an error of ours; None means 503 or 500."""
    degraded_pause: float = 0.0
    """How many seconds that answer is held back, for a client that sends its next request at once."""
    repeats: Sequence[float] = ()
    """The pauses, in seconds, after each of which the request is tried again here while the store is unavailable: for a
    client that does not repeat it.
    """
    ids: TypeAdapter[str] = ID
    """The form of what the path names."""
    conflicts: bool = False
    """Whether a request may conflict with the stored state (409), or name something that was removed (410)."""
    head: bool = True
    """For GET: whether HEAD is answered, too. False if a HEAD would have an effect, or if its answer would not hold for
    it.
    """
    signature: Signature = field(init=False)

    def __post_init__(self) -> None:
        signature = read_signature(self.handler, self.access, frozenset(PATH_NAME.findall(self.path)))
        if signature.body is not None and signature.query is not None:
            raise WrongHandler(f"{self.method} {self.path}: a handler takes a body or a query.")
        if not _is_answer(signature.answer):
            message = "a handler answers a model, Redirect, Download or NoContent, or a model if not NoContent"
            raise WrongHandler(f"{self.method} {self.path}: {message}.")
        object.__setattr__(self, "signature", signature)

    @property
    def answer(self) -> type[BaseModel] | None:
        """Return the answer's model; None for a redirect or an answer that is always empty."""
        return next((kind for kind in _kinds(self.signature.answer) if issubclass(kind, BaseModel)), None)

    @property
    def may_be_empty(self) -> bool:
        """Return whether the answer may be empty (204)."""
        return NoContent in _kinds(self.signature.answer)


def _is_answer(annotation: Any) -> bool:
    kinds = _kinds(annotation)
    if len(kinds) == 2:
        return sorted(issubclass(kind, BaseModel) for kind in kinds) == [False, True] and NoContent in kinds
    return len(kinds) == 1 and issubclass(kinds[0], Answer)


def _kinds(annotation: Any) -> tuple[type, ...]:
    """Return the classes of an answer's annotation; none if it has anything else."""
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return kinds if all(isinstance(kind, type) for kind in kinds) else ()


class NoSuchPath(NotFound):
    """No route has this path."""

    def __init__(self) -> None:
        super().__init__("There is nothing at this path.")


class WrongMethod(Refusal):
    """`allowed` names the methods that the path has."""

    code = "method_not_allowed"
    title = "The path has no such method"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


def url_map(routes: tuple[Route, ...]) -> MapAdapter:
    """Return the map that finds a route, as its `endpoint`, by method and path.

    One thread makes it: Werkzeug parses code for each rule, and Python may fail if two threads parse at the same time
    (https://github.com/python/cpython/issues/106905).
    """
    with _making:
        return _made(routes)


@lru_cache(MAX_MAPS)
def _made(routes: tuple[Route, ...]) -> MapAdapter:
    return Map([_rule(route) for route in routes], merge_slashes=False).bind("control-plane")


def _rule(route: Route) -> Rule:
    path = route.path.replace("{", "<").replace("}", ">")
    rule = Rule(path, methods=[route.method], endpoint=route)
    if rule.methods is not None and not route.head:
        rule.methods.discard("HEAD")  # werkzeug adds HEAD to each GET
    return rule
