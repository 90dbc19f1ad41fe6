"""A WSGI application on a loopback port, one thread a request, without a log of its requests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from emulators.processes import LOOPBACK

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class _Quiet(WSGIRequestHandler):
    """Presigned URLs are credentials: they are not logged."""

    def log_request(self, *_: Any) -> None:
        return


def bind(app: "WSGIApplication", port: int) -> BaseWSGIServer:
    """Return a server that listens; `serve_forever()` serves. Port 0 takes a free one."""
    return make_server(LOOPBACK, port, app, threaded=True, request_handler=_Quiet)


@contextmanager
def serving(app: "WSGIApplication") -> Iterator[str]:
    """Serve on a free port in the background; yield the base address."""
    server = bind(app, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
