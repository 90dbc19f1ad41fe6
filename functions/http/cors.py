"""Lets pages of other origins call an API (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from dataclasses import dataclass
from http import HTTPStatus

from flask import Request, Response


@dataclass(frozen=True, slots=True)
class Cors:
    """What a page may send. `max_age` is the time in seconds for which a browser remembers it."""

    methods: tuple[str, ...]
    headers: tuple[str, ...]
    max_age: int


def preflight(cors: Cors) -> Response:
    """Return the answer to a browser that asks what it may send."""
    headers = {
        "Access-Control-Allow-Methods": ", ".join(cors.methods),
        "Access-Control-Allow-Headers": ", ".join(cors.headers),
        "Access-Control-Max-Age": str(cors.max_age),
    }
    return Response("", HTTPStatus.NO_CONTENT, headers, content_type="text/plain")


def allow_origin(request: Request, response: Response) -> None:
    """Let the page that sent the request read the answer."""
    response.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
    response.headers.add("Vary", "Origin")
