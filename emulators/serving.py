"""Serves a WSGI application on a loopback port, with one thread for each request, and without an access log.

The local stack's own servers, as its control plane, refuse what pages of other machines send.
"""

import hmac
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from werkzeug import Request, Response
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from emulators.processes import LOOPBACK
from functions.http.local import is_foreign

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class _Quiet(WSGIRequestHandler):
    """Logs no requests: presigned URLs are credentials."""

    def log_request(self, *_: Any) -> None:
        return


class OwnMachineOnly:
    """Passes an application the requests that were sent to a loopback address, and by no page of another origin."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if is_foreign(Request(environ)):
            return Response("This server serves its own machine only.", 403)(environ, start_response)
        return self._app(environ, start_response)


def bind(app: "WSGIApplication", port: int) -> BaseWSGIServer:
    """Return a listening server of the local stack. Call its `serve_forever()`. Port 0 chooses a free port."""
    return listen(OwnMachineOnly(app), port)


def listen(app: "WSGIApplication", port: int) -> BaseWSGIServer:
    """Return a server for an application that checks by itself what a request calls it: `bind` is for all others."""
    return make_server(LOOPBACK, port, app, threaded=True, request_handler=_Quiet)


class Below:
    """A WSGI application that answers below a path only that its callers know; any other path is refused.

    It is for servers whose real clients send no credentials to an address without TLS.
    """

    def __init__(self, path: str, app: "WSGIApplication") -> None:
        self._path, self._app = path.rstrip("/"), app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        asked = str(environ["PATH_INFO"])
        known, rest = asked[: len(self._path)], asked[len(self._path) :]
        if not hmac.compare_digest(known.encode(), self._path.encode()) or not rest.startswith("/"):
            return Response("This server answers below the path in its settings only.\n", 403)(environ, start_response)
        return self._app({**environ, "SCRIPT_NAME": self._path, "PATH_INFO": rest}, start_response)


@contextmanager
def serving(app: "WSGIApplication") -> Iterator[str]:
    """Serve any application on a free port in the background; yield the base address."""
    server = listen(app, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
