"""Serves routes over HTTP: authenticates, parses, calls the handler, renders or refuses, and logs."""

import io
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final

import structlog
from flask import Request, Response
from pydantic import TypeAdapter, ValidationError
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoRule
from werkzeug.routing import MapAdapter

from functions.domain.refusals import Invalid, Malformed, NotFound, Refusal, Unavailable
from functions.http.api import Api
from functions.http.authentication import Open, Principal, bearer
from functions.http.body_deadline import BodyDeadline
from functions.http.cors import allow_origin, preflight
from functions.http.dialect import AUTHENTICATE_GIVEN, NATIVE, Dialect
from functions.http.handlers import Services, wanted_by
from functions.http.local import ForeignRequest, is_foreign
from functions.http.logs import CLOUD_TRACE_HEADER, TRACE_HEADER
from functions.http.parsing import read_body, require_json, require_size, require_uncompressed
from functions.http.presence import presence
from functions.http.rendering import refused, render
from functions.http.routing import SECRETS, Answer, NoSuchPath, Route, WrongMethod, url_map
from shared.log_events import LogEvent
from shared.wire.launchers import IDENTITY_HEADER, Identity

READING: Final = frozenset({"GET", "HEAD"})
"""The methods without an effect."""
KEY_HEADER: Final = "Idempotency-Key"
IDENTITY: Final = TypeAdapter(Identity)
MAX_KEY_LENGTH: Final = 200
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
        try:
            answer = _persistently(route, partial(self._call, request, address, route, named, body))
        except Exception as error:
            if route.degraded is None or (isinstance(error, Refusal) and not isinstance(error, Unavailable)):
                raise
            _note_degraded(error)
            time.sleep(route.degraded_pause)
            answer = route.degraded
        return render(request, route, answer)

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
        authorization = None if route.access is Open.ANYONE else _authorization(request, address.key)
        wanted = {name: services[kind] for name, kind in self._wanted[dialect].items()}
        caller = dialect.authenticate(access=route.access, authorization=authorization, **wanted)
        if isinstance(caller, Principal):
            bind_contextvars(account=caller.account)
            caller = replace(caller, identity=_identity(request) if dialect.identifies_launchers else None)
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
            given["idempotency_key"] = _idempotency_key(request, signature.key_required)
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


def _note_degraded(error: Exception) -> None:
    """Log why a request is answered without the store, or in spite of an error of ours."""
    if isinstance(error, Unavailable):
        message = "The store is unavailable; the request is answered without it."
        log.warning(LogEvent.REQUEST_DEGRADED, message=message, why=error.message)
    else:
        message = "An unexpected error; the request is answered all the same, because its client gives up after a few."
        log.error(LogEvent.REQUEST_DEGRADED, message=message, why=type(error).__name__, exc_info=error)


def _persistently(route: Route, call: Callable[[], Answer]) -> Answer:
    """Return what the call returns. While the store is unavailable, repeat it after each of the route's pauses.

    Raises Unavailable at last.
    """
    for pause in route.repeats:
        try:
            return call()
        except Unavailable as refusal:
            message = "The store is unavailable; the request is tried again here, because its client would not."
            log.warning(LogEvent.REQUEST_REPEATED, message=message, why=refusal.message, pause_seconds=pause)
            time.sleep(pause)
    return call()


def once(make: Callable[[], Services]) -> Callable[[], Services]:
    """Return a function that makes the services at its first call, and returns the same ones at every call."""
    lock, made = threading.Lock(), list[Services]()

    def services() -> Services:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return services


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


def _identity(request: Request) -> str | None:
    """Return the launcher's identity, or None if it was not sent. Raises Invalid, Malformed."""
    identity = _single(request, IDENTITY_HEADER)
    if identity is None:
        return None
    try:
        return IDENTITY.validate_python(identity)
    except ValidationError:
        wrong = {IDENTITY_HEADER: "Send the UUID in the launcher's state directory, in lower case, or no header."}
        raise Invalid("A header is wrong.", wrong) from None


def _authorization(request: Request, key: str | None) -> str | None:
    """Return the Authorization header, or one with the key of the address. Raises Malformed if both differ."""
    header = _single(request, "Authorization")
    if key is None:
        return header
    if header is not None and bearer(header) != key:
        raise Malformed("The address and the Authorization header have different keys; send one of them.")
    return f"Bearer {key}"


def _idempotency_key(request: Request, required: bool) -> str | None:
    """Return the request's idempotency key; None if it sent none and none is required. Raises Malformed."""
    key = _single(request, KEY_HEADER)
    if key is None and not required:
        return None
    if not (key and len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Malformed(
            f"The header {KEY_HEADER} {'is needed' if required else 'is wrong'}: 1 to {MAX_KEY_LENGTH} printable ASCII "
            "characters, no comma. Send a fresh UUID with each new order, and the same one again when you repeat the "
            "request."
        )
    return key


def _single(request: Request, name: str) -> str | None:
    """Return the header's value; None if it was not sent. Raises Malformed if it was sent twice.

    The server joins headers of one name with commas first (RFC 9110, section 5.3).
    """
    value = request.headers.get(name)
    if value is not None and "," in value:
        raise Malformed(f"The header {name} was sent more than once, or has a comma. Send it once, without a comma.")
    return value
