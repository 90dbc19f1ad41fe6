"""HTTP, and the only module that knows it: authenticate, parse, call the handler, render, refuse, log."""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from flask import Request, Response
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from pydantic import TypeAdapter, ValidationError
from werkzeug.exceptions import ClientDisconnected, HTTPException

from functions.apis.capacity.face import CAPACITY, PREFIXES
from functions.app import App
from functions.domain.refusals import Invalid, Malformed, Refusal, TooLarge, Unavailable
from functions.http import logs
from functions.http.authentication import Open, Principal
from functions.http.dialect import NATIVE, Face, Refused
from functions.http.presence import presence
from functions.http.routing import Answer, NoSuchPath, Nothing, Redirect, Route, Routes
from shared.wire.launchers import IDENTITY_HEADER, Identity

MOST_KEPT: Final = 1024 * 1024
"""Bytes of a request's body that are kept: more than any route takes."""
MOST_DRAINED: Final = 32 * 1024 * 1024
"""Bytes that are read of a body that is too large, so that its sender hears why; the platform's own limit."""
CHUNK: Final = 64 * 1024
KEY_HEADER: Final = "Idempotency-Key"
IDENTITY: Final = TypeAdapter(Identity)
LONGEST_KEY: Final = 200


class Endpoint:
    """Some routes as one entry point of functions-framework. `app` is asked for at the first request."""

    def __init__(self, routes: Sequence[Route], app: Callable[[], App], project: str | None = None) -> None:
        self._routes, self._app, self._project = Routes(routes), app, project

    def __call__(self, request: Request) -> Response:
        return _respond(request, self._answer, self._project)

    def _answer(self, request: Request, face: Face) -> Response:
        body = _read(request)
        route, named = self._routes.find(request.method, request.path)
        logs.note(route=route.path, **named)
        if len(body) > route.most_bytes:
            raise TooLarge(
                f"The body is over {route.most_bytes // 1024} KiB, the most that this route takes. "
                "Shorten its longest field, or write its characters as UTF-8: \\u escapes take more room."
            )
        try:
            answer = self._handled(request, route, body, face, named)
        except Unavailable as refusal:
            if route.degraded is None:
                raise
            logs.LOG.warning("A request is answered without the store, which does not answer.", why=refusal.message)
            answer = route.degraded
        return _render(route, answer)

    def _handled(self, request: Request, route: Route, body: bytes, face: Face, named: Mapping[str, str]) -> Answer:
        app = self._app()
        authorization = None if route.access is Open.ANYONE else _single(request, "Authorization")
        caller = face.authenticate(route.access, authorization, app)
        if isinstance(caller, Principal):
            logs.note(account=caller.account)
            caller = replace(caller, identity=_identity(request) if face is NATIVE else None)
        parsed, named = _parsed(request, route, body, face), {**named, **_keyed(request, route)}
        watched = {"present": presence(request.environ)} if route.waits else {}
        return route.handler(*parsed, caller, app, **named, **watched)


def unroutable(request: Request, error: HTTPException, project: str | None = None) -> Response:
    """Answer a request that the framework refuses before any endpoint is asked, in the form of its face.

    Its router knows no line break in a path, and no Host that cannot be a name.
    """

    def refuse(request: Request, _face: Face) -> Response:
        _read(request)
        if error.code == HTTPStatus.NOT_FOUND:
            raise NoSuchPath
        raise Malformed("The Host header or the address cannot be read: send the control plane's own name and path.")

    return _respond(request, refuse, project)


def _respond(request: Request, answer: Callable[[Request, Face], Response], project: str | None) -> Response:
    """Return the answer, or the refusal in the words of the request's face; log either."""
    started, failure = time.monotonic(), None
    face = CAPACITY if request.path.startswith(PREFIXES) else NATIVE
    logs.begin(request.headers, project)
    try:
        response = answer(request, face)
    except Refusal as refusal:
        response = _refused(face.refused(refusal))
    except Exception as error:  # noqa: BLE001 (the edge: whatever nobody foresaw is logged, and not told)
        response, failure = _refused(face.internal), error
    logs.end(request.method, response.status_code, time.monotonic() - started, failure)
    return response


def _read(request: Request) -> bytes:
    """Return the body, whatever Content-Length says of it; of one over MOST_KEPT only so much. Raises Malformed."""
    kept, size = bytearray(), 0
    try:
        while size < MOST_DRAINED and (chunk := request.stream.read(CHUNK)):
            size += len(chunk)
            if len(kept) <= MOST_KEPT:
                kept += chunk
    except (ClientDisconnected, ParseException, OSError):  # Flask's, gunicorn's and the socket's own words for it
        raise Malformed("The body ends too early, or its chunks are none.") from None
    finally:
        # The framework reads the rest of every body after us, all of it into memory.
        request.stream = io.BytesIO()
    return bytes(kept)


def _parsed(request: Request, route: Route, body: bytes, face: Face) -> Sequence[Any]:
    if route.body is not None:
        codings = {coding.strip().lower() for coding in request.headers.get("Content-Encoding", "").split(",")}
        if codings - {"", "identity"}:
            raise Malformed("Send the body without a Content-Encoding.")
        return [face.body(body, route.body)]
    if route.query is not None:
        return [face.query(request.args.items(multi=True), route.query)]
    return []


def _identity(request: Request) -> str | None:
    """Return which of the launchers of one name calls; None if it does not say. Raises Invalid, Malformed."""
    said = _single(request, IDENTITY_HEADER)
    if not said:
        return None
    try:
        return IDENTITY.validate_python(said)
    except ValidationError:
        wrong = {IDENTITY_HEADER: "Send the UUID that the launcher's state directory keeps, in lower case, or nothing."}
        raise Invalid("A header is not as it should be.", wrong) from None


def _keyed(request: Request, route: Route) -> Mapping[str, str]:
    if not route.keyed:
        return {}
    key = _single(request, KEY_HEADER) or ""
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Malformed(
            f"The header {KEY_HEADER} is needed: 1 to {LONGEST_KEY} printable ASCII characters, no comma. "
            "Send a fresh UUID with each new order, and the same one again when you repeat the request."
        )
    return {"idempotency_key": key}


def _single(request: Request, name: str) -> str | None:
    """Return the header's value, None if it was not sent. Raises Malformed if it was sent twice.

    The server joins headers of one name with commas before we see them: RFC 9110, section 5.3.
    """
    value = request.headers.get(name)
    if value is not None and "," in value:
        raise Malformed(f"The header {name} was sent more than once, or has a comma. Send it once, without a comma.")
    return value


def _render(route: Route, answer: Answer) -> Response:
    if isinstance(answer, Redirect):
        return _response(HTTPStatus.TEMPORARY_REDIRECT, "", "text/plain", {"Location": answer.url})
    if isinstance(answer, Nothing):
        return _response(route.status, "", "text/plain", {})
    headers = {"Location": route.location.format_map(dict(answer))} if route.location else {}
    return _response(route.status, answer.model_dump_json(), "application/json", headers)


def _refused(refused: Refused) -> Response:
    return _response(refused.status, refused.document, refused.media_type, refused.headers)


def _response(status: HTTPStatus, body: str, media_type: str, headers: Mapping[str, str]) -> Response:
    return Response(body, status, {"Cache-Control": "no-store", **headers}, content_type=media_type)
