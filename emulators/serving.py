"""Serves a WSGI application on a loopback port, with one thread for each request, and without an access log."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from emulators.processes import LOOPBACK

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class _Quiet(WSGIRequestHandler):
    """Logs no requests: presigned URLs are credentials."""

    def log_request(self, *_: Any) -> None:
        return


def bind(app: "WSGIApplication", port: int) -> BaseWSGIServer:
    """Return a listening server. Call its `serve_forever()`. Port 0 chooses a free port."""
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
