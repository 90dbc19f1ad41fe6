"""A front end that holds requests while its server is down, as Cloud Run queues them while an instance starts.

https://cloud.google.com/run/docs/about-instance-autoscaling: a request waits for an instance, and is not refused. No
request is sent to an instance that is being shut down. What an instance was handling when it died fails: it is answered
with 503.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx
from werkzeug import Request, Response

from emulators.serving import serving
from tests.harness.upstream import Upstream

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

RETRY_SECONDS: Final = 0.1
MAX_HELD_SECONDS: Final = 120.0


class Front:
    """A WSGI application. `address` is its own, and `requests` the number of those that it passes on or holds."""

    def __init__(self, server: str) -> None:
        self.address = ""
        self.requests = 0
        self.upstream = Upstream(server)
        self._counting = threading.Lock()
        self._routed = threading.Event()
        self._routed.set()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Send the server no new requests until the end of the context: it is being shut down."""
        self._routed.clear()
        try:
            yield
        finally:
            self._routed.set()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        with self._counted():
            return self._answer(self.upstream.outgoing(Request(environ)))(environ, start_response)

    def _answer(self, outgoing: httpx.Request) -> Response:
        deadline = time.monotonic() + MAX_HELD_SECONDS
        self._routed.wait(MAX_HELD_SECONDS)
        while time.monotonic() < deadline:
            try:
                return self.upstream.ask(outgoing)
            except httpx.ConnectError:
                time.sleep(RETRY_SECONDS)
            except httpx.TransportError:
                break
        return Response("the instance is gone", HTTPStatus.SERVICE_UNAVAILABLE)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self.requests += 1
        try:
            yield
        finally:
            with self._counting:
                self.requests -= 1


@contextmanager
def front_of(server: str) -> Iterator[Front]:
    """Serve a front end of the server with this base address, on a free port in the background."""
    front = Front(server)
    try:
        with serving(front) as front.address:
            yield front
    finally:
        front.upstream.close()
