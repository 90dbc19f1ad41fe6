"""Serves routes over HTTP: authenticates, parses, calls the handler, renders or refuses, and logs."""

import io
import logging
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final

import structlog
from flask import Request, Response
from pydantic import ValidationError
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoRule
from werkzeug.routing import MapAdapter

from functions.domain.refusals import Malformed, NotFound, Refusal
from functions.http.api import Api
from functions.http.authentication import Open, Principal, authorization_of, identity_of
from functions.http.body_deadline import BodyDeadline
from functions.http.cors import allow_origin, preflight
from functions.http.dialect import AUTHENTICATE_GIVEN, NATIVE, Dialect
from functions.http.faults import despite_faults
from functions.http.handlers import Services, wanted_by
from functions.http.local import ForeignRequest, is_foreign
from functions.http.logs import CLOUD_TRACE_HEADER, TRACE_HEADER
from functions.http.parsing import idempotency_key_of, read_body, require_json, require_size, require_uncompressed
from functions.http.presence import presence
from functions.http.rendering import refused, render
from functions.http.routing import SECRETS, Answer, NoSuchPath, Route, WrongMethod, url_map
from shared.log_events import LogEvent

READING: Final = frozenset({"GET", "HEAD"})
"""The methods without an effect."""
TRACE_HEADERS: Final = (CLOUD_TRACE_HEADER, TRACE_HEADER)
NO_ROUTE: Final = "(none)"

SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")
"""The WSGI environment's keys in which the servers of functions-framework put the connection."""
KEYED: Final = re.compile(r"/k/([^/]+)(/.*)", re.DOTALL)
"""A path with a key in front: `/k/<key>/<path>`."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Address:
    """A request's path. If its client knows only a base URL, it may have sent its key in front of it."""

    path: str
    dialect: Dialect
    key: str | None = field(default=None, repr=False)


class Endpoint:
    """Serves some APIs' routes as one entry point of functions-framework.

    `services` is called at each request, and returns what the routes ask for (`assembly`); `local` is whether the
    control plane serves one machine only (see `local`).
    """

    def __init__(
        self,
        apis: Sequence[Api],
        routes: Sequence[Route],
        services: Callable[[], Services],
        deadline: BodyDeadline,
        local: bool,
    ) -> None:
        self._apis, self._routes, self._services = apis, tuple(routes), services
        self._deadline, self._local = deadline, local
        self._urls: MapAdapter | None = None
        """Made at the first request, like the services."""
        self._wanted = {api.dialect: wanted_by(api.dialect.authenticate, AUTHENTICATE_GIVEN) for api in apis}

    def __call__(self, request: Request) -> Response:
        return respond(request, self._apis, self._answer, self._local)

    def _answer(self, request: Request, address: Address) -> Response:
        """Find the route, authenticate, read and parse the body, call the handler, and render its result."""
        if self._urls is None:
            self._urls = url_map(self._routes)
        route, named = _route(self._urls, request.method, address.path)
        bind_contextvars(route=route.path, **{name: text for name, text in named.items() if name not in SECRETS})
        body = cache(partial(self._read, request, route.max_bytes))  # it can be read once
        call = partial(self._call, request, address, route, named, body)
        outlasts_faults = route.repeats or route.degraded is not None
        return render(request, route, despite_faults(route, call) if outlasts_faults else call())

    def _read(self, request: Request, limit: int) -> bytes:
        """Return the body. It has a deadline if the server gives its connection."""
        connection = connection_of(request.environ)
        if connection is None:
            return read_body(request, limit)
        with self._deadline.over(connection):
            return read_body(request, limit)

    def _call(
        self, request: Request, address: Address, route: Route, named: Mapping[str, str], body: Callable[[], bytes]
    ) -> Answer:
        """Authenticate the caller, then call the handler with the arguments of its signature; return its result.

        The body is read once the caller is known: until then, nobody is waited for.
        """
        dialect, services, signature = address.dialect, self._services(), route.signature
        authorization = None if route.access is Open.ANYONE else authorization_of(request, address.key)
        wanted = {name: services[kind] for name, kind in self._wanted[dialect].items()}
        caller = dialect.authenticate(access=route.access, authorization=authorization, **wanted)
        if isinstance(caller, Principal):
            bind_contextvars(account=caller.account)
            caller = replace(caller, identity=identity_of(request) if dialect.identifies_launchers else None)
        given: dict[str, Any] = {name: services[kind] for name, kind in signature.services.items()}
        if request.method not in READING:
            require_uncompressed(request)
            if not _knows_a_secret(request, address, named):
                require_json(request)
        require_size(request.content_length, route.max_bytes)
        if signature.body is not None:
            given["body"] = dialect.body(body(), signature.body)
        if signature.query is not None:
            given["query"] = dialect.query(request.args.items(multi=True), signature.query)
        if signature.keyed:
            given["idempotency_key"] = idempotency_key_of(request, signature.key_required)
        if signature.waits:
            given["present"] = presence(connection_of(request.environ))
        if signature.caller is not None:
            given[signature.caller] = caller
        answer: Answer = route.handler(**given, **named)
        return answer


def connection_of(environ: Mapping[str, Any]) -> socket.socket | None:
    """Return the request's connection; None if the server does not give it."""
    return next((environ[name] for name in SOCKETS if name in environ), None)


def _knows_a_secret(request: Request, address: Address, named: Mapping[str, str]) -> bool:
    """Return whether a request has a credential. A page has none: it knows no secret of an address, and a browser sends
    no Authorization header for it without asking. Whoever has one may leave the body's type to its library.
    """
    return "Authorization" in request.headers or address.key is not None or not SECRETS.isdisjoint(named)


def entry_point(endpoint: Endpoint) -> Callable[[Request], Response]:
    """Return the endpoint as a function, because functions-framework accepts no other callable."""
    return lambda request: endpoint(request)


def respond(
    request: Request, apis: Sequence[Api], answer: Callable[[Request, Address], Response], local: bool
) -> Response:
    """Return the answer, or the refusal in the dialect of the path's API, and log it."""
    started, failure = time.monotonic(), None
    address = address_of(request.path, apis)
    dialect, foreign = address.dialect, local and is_foreign(request)
    clear_contextvars()  # removes the fields of this thread's last request
    bind_contextvars(**{name: request.headers[name] for name in TRACE_HEADERS if name in request.headers})
    try:
        if foreign:
            raise ForeignRequest
        if dialect.cors is not None and request.method == "OPTIONS":
            response = preflight(dialect.cors)
        else:
            response = answer(request, address)
    except Refusal as refusal:
        response = refused(dialect.refused(refusal))
    except Exception as error:  # noqa: BLE001 (any other error is ours: it is logged, and not sent)
        response, failure = refused(dialect.internal), error
    finally:
        request.stream = io.BytesIO()  # else the framework would read what is left of the body, without a deadline
    if dialect.cors is not None and not foreign:
        allow_origin(request, response)
    response.headers["X-Content-Type-Options"] = "nosniff"
    status, route = response.status_code, get_contextvars().get("route", NO_ROUTE)
    level = logging.INFO if status < HTTPStatus.INTERNAL_SERVER_ERROR else logging.ERROR
    log.log(
        logging.WARNING if status == HTTPStatus.SERVICE_UNAVAILABLE else level,
        LogEvent.REQUEST_SERVED,
        message=f"{request.method} {route} {status}",
        method=request.method,
        route=route,
        status=status,
        duration_ms=round((time.monotonic() - started) * 1000, 1),
        exc_info=failure,
    )
    return response


def address_of(path: str, apis: Sequence[Api]) -> Address:
    """Return the address of a request's path. A key in front of it counts only for APIs that allow one."""
    keyed = KEYED.fullmatch(path)
    if keyed is None:
        return Address(path, dialect_of(apis, path))
    key, rest = keyed.groups()
    dialect = dialect_of(apis, rest)
    return Address(rest, dialect, key) if dialect.key_in_path else Address(path, dialect)


def dialect_of(apis: Sequence[Api], path: str) -> Dialect:
    """Return the dialect of the API with the longest prefix of this path."""
    prefixes = {prefix: api.dialect for api in apis for prefix in api.prefixes if path.startswith(prefix)}
    return prefixes[max(prefixes, key=len)] if prefixes else NATIVE


def unroutable(request: Request, apis: Sequence[Api], error: HTTPException, local: bool) -> Response:
    """Answer a request that the framework refuses before it calls any endpoint, in the dialect of the path's API.

    Its router refuses a path with a line break, and a Host header that cannot be a name.
    """

    def refuse(_request: Request, _address: Address) -> Response:
        if error.code == HTTPStatus.NOT_FOUND:
            raise NoSuchPath
        raise Malformed("The Host header or the address cannot be read: send the control plane's own name and path.")

    return respond(request, apis, refuse, local)


def _route(urls: MapAdapter, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """Return the route and the names in its path. Raises NotFound, WrongMethod."""
    try:
        found, named = urls.match(path, method)
    except NoRule:
        raise NoSuchPath from None
    except MethodNotAllowed as error:
        allowed = sorted(error.valid_methods or ())
        raise WrongMethod(f"This path takes {', '.join(allowed)}.", allowed) from None
    route: Route = found
    try:
        return route, {
            name: text if name in SECRETS else route.ids.validate_python(text) for name, text in named.items()
        }
    except ValidationError:
        raise NotFound(route.missing) from None
