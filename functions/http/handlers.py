"""Reads a handler's signature, once, when its route is made.

A handler is a plain function. Its parameters define its arguments, and its return type the answer:

    def create(body: OrderRequest, client: Principal, orders: Orders, idempotency_key: str) -> OrderView

`body` and `query` are parsed as their annotated types. A parameter whose type is a kind of caller gets the caller; one
named in the path gets that part of the path; `idempotency_key` and `present` get the header and the caller's presence.
The header is optional if `idempotency_key` may be None.
Every other parameter is a service, found by its type (`functions/assembly.py`). If a handler does not fit its route,
WrongHandler ends the process at its start.
"""

import inspect
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter

from functions.http.authentication import Access, Anyone, Bearer, Open, Principal
from functions.http.presence import Present

Services = Mapping[type, object]
"""The services that handlers may take, by their type."""

CALLERS: Final = frozenset({Principal, Bearer, Anyone})
CALLERS_OF: Final[Mapping[Open, frozenset[type]]] = {
    Open.WORKER: frozenset({Bearer}),
    Open.ANYONE: frozenset({Anyone}),
    Open.EITHER: frozenset({Bearer, Anyone}),
}


class WrongHandler(TypeError):
    """A handler does not fit its route, or takes a service that does not exist."""


@dataclass(frozen=True, slots=True)
class Signature:
    """`caller` names the parameter for the caller; `services` maps parameters to their types; `answer` is the return
    type. A field is None if the handler has no such parameter.
    """

    body: TypeAdapter[Any] | None
    query: type[BaseModel] | None
    caller: str | None
    keyed: bool
    key_required: bool
    waits: bool
    services: Mapping[str, type]
    answer: Any


def read_signature(handler: Callable[..., Any], access: Access, path_names: Set[str]) -> Signature:
    """Return the handler's signature. Raises WrongHandler."""
    hints = get_type_hints(handler, include_extras=True)
    answer = hints.pop("return", None)
    name = f"{handler.__module__}.{handler.__qualname__}"
    parameters = inspect.signature(handler).parameters
    if answer is None or set(hints) != set(parameters):
        raise WrongHandler(f"{name}: annotate each parameter and the return type.")
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if inspect.iscoroutinefunction(handler) or any(one.kind not in by_name for one in parameters.values()):
        raise WrongHandler(f"{name}: a handler is a plain function, and is called with its parameters by name.")
    if missing := path_names - set(hints):
        raise WrongHandler(f"{name}: the path names {', '.join(sorted(missing))}; take each as a parameter.")
    caller = _caller(hints, access, name)
    if access in (Open.WORKER, Open.EITHER) and caller is None:
        raise WrongHandler(f"{name}: nobody has verified the caller's token yet; take the caller, and verify it.")
    for parameter in path_names:
        if hints[parameter] is not str:
            raise WrongHandler(f"{name}: {parameter} is text; annotate it as str.")
    if hints.get("idempotency_key", str) not in (str, str | None):
        raise WrongHandler(f"{name}: annotate idempotency_key as str, or as str | None if it is optional.")
    if hints.get("present", Present) != Present:
        raise WrongHandler(f"{name}: annotate present as Present.")
    query = hints.get("query")
    if query is not None and not (isinstance(query, type) and issubclass(query, BaseModel)):
        raise WrongHandler(f"{name}: annotate query as a model.")
    rest = set(hints) - path_names - {"body", "query", "idempotency_key", "present", caller}
    return Signature(
        body=TypeAdapter(hints["body"]) if "body" in hints else None,
        query=query,
        caller=caller,
        keyed="idempotency_key" in hints,
        key_required=hints.get("idempotency_key") is str,
        waits="present" in hints,
        services={parameter: hints[parameter] for parameter in rest},
        answer=answer,
    )


@cache  # each route asks for its dialect's
def wanted_by(function: Callable[..., Any], given: frozenset[str] = frozenset()) -> Mapping[str, type]:
    """Return the services that a function takes: its parameters with their types, except those in `given`."""
    hints = get_type_hints(function)
    return MappingProxyType({name: kind for name, kind in hints.items() if name not in given and name != "return"})


def _caller(hints: Mapping[str, Any], access: Access, name: str) -> str | None:
    """Return the parameter for the caller, if the handler has one. Raises WrongHandler."""
    expected = CALLERS_OF[access] if isinstance(access, Open) else frozenset({Principal})
    for parameter, hint in hints.items():
        kinds = frozenset(get_args(hint) or (hint,))
        if kinds and kinds <= CALLERS:
            if kinds != expected:
                allowed = " | ".join(sorted(kind.__name__ for kind in expected))
                raise WrongHandler(f"{name}: the route's callers are {allowed}; annotate {parameter} so.")
            return parameter
    return None
