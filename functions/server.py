"""Serves the functions where we start the server ourselves: functions-framework's application under gunicorn.

    python -m functions.server --target everything --host 127.0.0.1 --port 8080

functions-framework starts gunicorn without limits: each connection holds a thread from its first byte on, however
slowly its head comes, and a request line may have any length. Cloud Run's front end makes up for that. This server has
the limits itself (docs/adr/0029): it reads heads without threads, and each connection brings one request.
"""

import argparse
import resource
import socket
import struct
import time
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from selectors import EVENT_READ
from typing import Any, Final

import functions_framework
from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.http.errors import (  # type: ignore[import-untyped]
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from functions.http import problems
from functions.settings import ServerSettings
from shared.wire.problems import Problem

MAX_LINE: Final = 8190
"""The length of a request line, and of a header, in bytes."""
MAX_FIELDS: Final = 100
"""The number of headers of a request."""
MAX_HEAD: Final = 64 * 1024
"""The length of a request's line and headers together, in bytes."""
HEAD_SECONDS: Final = 10.0
"""How long a head may take."""
HURRIED_SECONDS: Final = 1.0
"""How long it may take while most connections are taken, or when the server is to end."""
STALLED_SECONDS: Final = 20
"""How long a thread waits for the next bytes of a body, or until the client has read some of the answer."""
LINGER_SECONDS: Final = 2.0
"""How long a client has to read the answer and close the connection, once it is sent."""
MAX_DISCARDED: Final = 1024 * 1024
"""The bytes that are read, and dropped, of what a client goes on sending after its answer."""
MORE_CONNECTIONS: Final = 1000
"""The number of connections that are open beside those that have a thread."""
MAX_FILES: Final = 65_536
"""The limit of open files that is asked of the system."""
SPARE_FILES: Final = 256
"""The number of open files that are left for all but connections."""
GRACEFUL_SECONDS: Final = 30
"""How long requests may take to end when the server is told to end."""
CHUNK: Final = 64 * 1024
END: Final = b"\r\n\r\n"
LINE_END: Final = b"\r\n"
MEMORY: Final = Path("/dev/shm")  # noqa: S108 (gunicorn makes a file of its own in it, and unlinks it)


@dataclass(slots=True)
class Head:
    """What has come of a request, and when its connection was opened, in seconds of the monotonic clock."""

    since: float
    received: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Farewell:
    """An answered connection: when it was answered, and how many bytes have come since."""

    since: float
    discarded: int = 0


class ServerWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker with threads. The loop reads each request's head before a thread is taken for it.

    The loop also closes connections: gunicorn's own waits there up to 2 s for each client that does not close its side.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._heads: dict[TConn, Head] = {}
        self._farewells: dict[TConn, Farewell] = {}
        # Both are in the order of time, because nothing is put back.

    def enqueue_req(self, conn: TConn) -> None:
        """Await the head of a new connection's request."""
        conn.sock.setblocking(False)
        self._heads[conn] = Head(time.monotonic())
        self.poller.register(conn.sock, EVENT_READ, partial(self._read_head, conn))

    def handle(self, conn: TConn) -> Any:
        """Serve a request whose head is there. Runs in a thread."""
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", STALLED_SECONDS, 0))
        conn.init()
        conn.parser.unreader.unread(conn.head)
        return super().handle(conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        try:
            return super().handle_request(req, conn)
        except BlockingIOError:  # the client reads nothing of its answer
            return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a head that cannot be read: the sender's mistake, whatever it is."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
        elif isinstance(exc, LimitRequestLine):
            _send(client, HTTPStatus.REQUEST_URI_TOO_LONG)
        elif isinstance(exc, LimitRequestHeaders):
            _send(client, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            _send(client, HTTPStatus.BAD_REQUEST)

    def finish_request(self, conn: TConn, _finished: Any) -> None:
        """Close a connection whose request was answered, as soon as its client has read the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._discard, conn))
        except (OSError, ValueError):
            self._drop(conn)
        else:
            self._farewells[conn] = Farewell(time.monotonic())

    def murder_pending(self) -> None:
        """Close connections whose time is over. gunicorn's loop calls it every second, also when it is to end."""
        now = time.monotonic()
        crowded = 4 * self.nr_conns > 3 * self.worker_connections
        allowed = HURRIED_SECONDS if crowded or not self.alive else HEAD_SECONDS
        for conn, head in list(self._heads.items()):
            if now - head.since < allowed:
                break
            self._refuse(conn, HTTPStatus.REQUEST_TIMEOUT)
        for conn, farewell in list(self._farewells.items()):
            if now - farewell.since < LINGER_SECONDS:
                break
            self._drop(conn)

    def _read_head(self, conn: TConn, client: socket.socket) -> None:
        head = self._heads[conn]
        if (received := _received(client)) is None:
            return
        if not received:
            self._drop(conn)
            return
        searched = max(0, len(head.received) - len(END))
        head.received += received
        if head.received.find(END, searched) >= 0:
            self.poller.unregister(client)
            del self._heads[conn]
            conn.head, conn.data_ready = bytes(head.received), True
            super().enqueue_req(conn)
        elif len(head.received) > MAX_LINE and head.received.find(LINE_END, 0, MAX_LINE + len(LINE_END)) < 0:
            self._refuse(conn, HTTPStatus.REQUEST_URI_TOO_LONG)
        elif len(head.received) > MAX_HEAD:
            self._refuse(conn, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, conn: TConn, status: HTTPStatus) -> None:
        """Answer a connection that has brought no whole head."""
        del self._heads[conn]
        self.poller.unregister(conn.sock)
        _send(conn.sock, status)
        self.finish_request(conn, None)

    def _discard(self, conn: TConn, client: socket.socket) -> None:
        farewell = self._farewells[conn]
        if (received := _received(client)) is None:
            return
        farewell.discarded += len(received)
        if not received or farewell.discarded > MAX_DISCARDED:
            self._drop(conn)

    def _drop(self, conn: TConn) -> None:
        if self._heads.pop(conn, None) or self._farewells.pop(conn, None):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def _received(client: socket.socket) -> bytes | None:
    """Return what has come; nothing if the connection is at its end, and None if nothing has come yet."""
    try:
        return client.recv(CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _send(client: socket.socket, status: HTTPStatus) -> None:
    """Send a problem document, as far as the connection takes it at once."""
    refusal = Problem(
        type=f"{problems.TYPE}unreadable_head",
        title="The request's head cannot be read",
        status=status.value,
        detail=f"A request line and each header have {MAX_LINE} bytes at most, a request has {MAX_FIELDS} headers at "
        f"most, and all of them come within {HEAD_SECONDS:.0f} s, in the form of HTTP/1.1.",
    )
    document = refusal.model_dump_json(exclude_defaults=True)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {problems.MEDIA_TYPE}",
        f"Content-Length: {len(document)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    )
    try:
        client.send(("\r\n".join(head) + "\r\n\r\n" + document).encode(), socket.MSG_DONTWAIT)
    except OSError:
        return  # it has hung up, or reads nothing


class FunctionServer(BaseApplication):  # type: ignore[misc]
    """`threads` is the number of requests that are served at once."""

    def __init__(self, app: Flask, host: str, port: int, threads: int) -> None:
        self._app = app
        self._options = {
            "bind": f"{host}:{port}",
            "worker_class": ServerWorker,
            "threads": threads,
            "worker_connections": min(threads + MORE_CONNECTIONS, max(_open_files() - SPARE_FILES, 1)),
            "keepalive": 0,  # a client that sends its next request while the connection is closed may lose it
            "timeout": 0,
            "graceful_timeout": GRACEFUL_SECONDS,
            "limit_request_line": MAX_LINE,
            "limit_request_fields": MAX_FIELDS,
            "limit_request_field_size": MAX_LINE,
            "http_parser": "python",
            "forwarded_allow_ips": "",  # nothing is made of what a front end says of the caller
            "loglevel": "error",
            **({"worker_tmp_dir": str(MEMORY)} if MEMORY.is_dir() else {}),
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._app


def _open_files() -> int:
    """Raise this process's limit of open files to MAX_FILES, if it may, and return the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve one service of the control plane, or all of them.")
    parser.add_argument("--target", required=True, help="the service, or `everything`")
    parser.add_argument("--source", default=str(Path(__file__).parent / "main.py"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    app = functions_framework.create_app(arguments.target, arguments.source)  # type: ignore[no-untyped-call]
    FunctionServer(app, arguments.host, arguments.port, ServerSettings().threads).run()


if __name__ == "__main__":
    main()
