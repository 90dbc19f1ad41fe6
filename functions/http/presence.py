"""Says whether a caller that waits for its answer is still connected: one that has hung up is given no order.

It would never hear of the order, and the lease would have to expire before another launcher got it.
"""

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

Present = Callable[[], bool]

SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")
"""Where the servers that functions-framework runs on put the connection into the WSGI environment."""


def presence(environ: Mapping[str, Any]) -> Present:
    """Return a look at the request's connection, made each time it is called.

    If there is none to look at, the caller is taken to be there. If it is not, the order loses a lease's time, and
    no attempt: nothing was started (`rules._started_nothing`).
    """
    connection = next((environ[name] for name in SOCKETS if name in environ), None)
    return lambda: connection is None or _open(connection)


def _open(connection: socket.socket) -> bool:
    """Peek, and wait for nothing: a peer that has closed, or shut down its side, reads as the end of the stream."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except (BlockingIOError, ValueError):  # nothing to read yet; a TLS socket, which cannot be peeked into
        return True
    except OSError:  # reset, or closed here
        return False
