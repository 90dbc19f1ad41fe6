"""Reads the bodies of requests: with a limit, and a deadline.

Only a caller who may call the route is waited for. A deadline ends the reading on the connection itself, because the
servers' own reads return only once they have all that was asked for.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from functions.domain.refusals import Malformed, Refusal, TooLarge

BODY_SECONDS: Final = 20.0
"""How long a body may take."""
CROWDED_SECONDS: Final = 0.5
"""How long it may take while many bodies are awaited."""
LOOK_SECONDS: Final = 0.2
"""The time between two looks at the bodies that are awaited."""
CHUNK: Final = 64 * 1024
SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")
"""The WSGI environment's keys in which the servers of functions-framework put the connection."""
FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""What a page may send to any host without asking it first
(https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
"""


class BodyTooSlow(Refusal):
    """The body did not come in time."""

    code = "body_too_slow"
    title = "The body came too slowly"


class WrongContentType(Refusal):
    """The body says that it is a form, or plain text."""

    code = "unsupported_media_type"
    title = "The body is not JSON"


@dataclass(slots=True)
class Awaited:
    """A body that is being read: since when, in seconds, and whether its time is over."""

    since: float
    overdue: bool = False


@dataclass
class Bodies:
    """The bodies that are being read in this process. From `crowd` of them on, each has less time.

    A body holds a thread, so `crowd` is less than the number of threads.
    """

    crowd: int
    clock: Callable[[], float] = time.monotonic
    _awaited: dict[socket.socket, Awaited] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watching: bool = False

    def read(self, request: Request, limit: int) -> bytes:
        """Return the body, of at most `limit` bytes. Raises TooLarge, BodyTooSlow, Malformed."""
        body = bytearray()
        with self._watched(connection_of(request.environ)) as awaited:
            try:
                while len(body) <= limit and (chunk := request.stream.read(CHUNK)):
                    body += chunk
            except (TimeoutError, BlockingIOError):  # nothing came within the server's own time
                awaited.overdue = True
            except (ClientDisconnected, ParseException, OSError):  # Flask's, gunicorn's and the socket's
                if not awaited.overdue:
                    raise Malformed("The body ends too early, or its chunks cannot be read.") from None
        if awaited.overdue:
            raise BodyTooSlow(f"The body must come within {BODY_SECONDS:.0f} s. Send the same request again.")
        require_size(len(body), limit)
        return bytes(body)

    def end_overdue(self) -> None:
        """End the reading of each body whose time is over."""
        now = self.clock()
        with self._lock:
            allowed = CROWDED_SECONDS if len(self._awaited) >= self.crowd else BODY_SECONDS
            for connection, awaited in self._awaited.items():
                if now - awaited.since >= allowed and not awaited.overdue:
                    awaited.overdue = True
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)  # the thread that reads sees the end of the stream

    @contextmanager
    def _watched(self, connection: socket.socket | None) -> Iterator[Awaited]:
        """Watch over a body's deadline until the end of the context, if its connection is known."""
        awaited = Awaited(self.clock())
        if connection is None:
            yield awaited
            return
        with self._lock:
            self._awaited[connection] = awaited
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="bodies", daemon=True).start()
        try:
            yield awaited
        finally:
            with self._lock:
                del self._awaited[connection]

    def _watch(self) -> None:
        """Look at the awaited bodies again and again, until there are none."""
        pause = threading.Event()
        while True:
            pause.wait(LOOK_SECONDS)
            self.end_overdue()
            with self._lock:
                if not self._awaited:
                    self._watching = False
                    return


def require_json(request: Request) -> None:
    """Refuse a body of a type that pages send to any host without asking.

    A body without a type is taken, as scripts send it. Raises WrongContentType.
    """
    if request.mimetype in FORM_TYPES:
        raise WrongContentType("Send the body as JSON, with the header `Content-Type: application/json`.")


def require_uncompressed(request: Request) -> None:
    """Raises Malformed."""
    codings = {coding.strip().lower() for coding in request.headers.get("Content-Encoding", "").split(",")}
    if codings - {"", "identity"}:
        raise Malformed("Send the body without a Content-Encoding.")


def connection_of(environ: Mapping[str, Any]) -> socket.socket | None:
    """Return the request's connection; None if the server does not give it."""
    return next((environ[name] for name in SOCKETS if name in environ), None)


def require_size(size: int | None, limit: int) -> None:
    """Raise TooLarge if a body's size in bytes is known and over the limit."""
    if size is not None and size > limit:
        raise TooLarge(
            f"The body is over {limit // 1024} KiB, the limit of this route. "
            "Shorten its longest field, or write its characters as UTF-8: \\u escapes need more bytes."
        )
