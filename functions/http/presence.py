"""Detects whether a caller that waits for its answer is still connected. One that has hung up gets no order.

Otherwise the order would wait until the lease expires, because the caller never received it.
"""

import socket
from collections.abc import Callable

Present = Callable[[], bool]


def presence(connection: socket.socket | None) -> Present:
    """Return a function that checks the request's connection at each call.

    If the connection is unknown, it assumes that the caller is connected. If that is wrong, the order loses the
    time of one lease, and no attempt, because no machine was started (`rules._started_nothing`).
    """
    return lambda: connection is None or _open(connection)


def _open(connection: socket.socket) -> bool:
    """Peek without blocking: if the peer has closed its side, this reads the end of the stream."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except (BlockingIOError, ValueError):  # nothing to read yet; or a TLS socket, which cannot peek
        return True
    except OSError:  # reset, or closed here
        return False
