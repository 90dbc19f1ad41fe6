"""HTTP, and the only module that knows it: authenticate, parse, call the handler, render, refuse, log."""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from flask import Request, Response
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from functions import logs
from functions.app import App
from functions.authentication import Principal
from functions.capacity.face import CAPACITY, PREFIXES
from functions.faces import NATIVE, Face, Refused
from functions.presence import presence
from functions.routing import Answer, Nothing, Redirect, Route, Routes
from shared.domain.refusals import Malformed, Refusal, TooLarge, Unavailable

MOST_KEPT: Final = 1024 * 1024
"""Bytes of a request's body that are kept: more than any route takes."""
MOST_DRAINED: Final = 32 * 1024 * 1024
"""Bytes that are read of a body that is too large, so that its sender hears why; the platform's own limit."""
CHUNK: Final = 64 * 1024
KEY_HEADER: Final = "Idempotency-Key"
LONGEST_KEY: Final = 200


class Endpoint:
    """Some routes as one entry point of functions-framework. `app` is asked for at the first request."""

    def __init__(self, routes: Sequence[Route], app: Callable[[], App], project: str | None = None) -> None:
        self._routes, self._app, self._project = Routes(routes), app, project

    def __call__(self, request: Request) -> Response:
        started, failure = time.monotonic(), None
        face = CAPACITY if request.path.startswith(PREFIXES) else NATIVE
        logs.begin(request.headers, self._project)
        try:
            response = self._answer(request, face)
        except Refusal as refusal:
            response = _refused(face.refused(refusal))
        except Exception as error:  # noqa: BLE001 (the edge: whatever nobody foresaw is logged, and not told)
            response, failure = _refused(face.internal), error
        logs.end(request.method, response.status_code, time.monotonic() - started, failure)
        return response

    def _answer(self, request: Request, face: Face) -> Response:
        body = _read(request)
        route, named = self._routes.find(request.method, request.path)
        logs.note(route=route.path, **named)
        if len(body) > route.most_bytes:
            raise TooLarge(f"The body is over {route.most_bytes // 1024} KiB.")
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
        caller = face.authenticate(route.access, request.headers.get("Authorization"), app)
        if isinstance(caller, Principal):
            logs.note(account=caller.account)
        parsed, named = _parsed(request, route, body, face), {**named, **_keyed(request, route)}
        watched = {"present": presence(request.environ)} if route.waits else {}
        return route.handler(*parsed, caller, app, **named, **watched)


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
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Malformed("Send the body without a Content-Encoding.")
        return [face.body(body, route.body)]
    if route.query is not None:
        return [face.query(request.args.items(multi=True), route.query)]
    return []


def _keyed(request: Request, route: Route) -> Mapping[str, str]:
    if not route.keyed:
        return {}
    key = request.headers.get(KEY_HEADER, "")
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Malformed(
            f"The header {KEY_HEADER} is needed: 1 to {LONGEST_KEY} printable ASCII characters. "
            "Send a fresh UUID with each new order, and the same one again when you repeat the request."
        )
    return {"idempotency_key": key}


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
