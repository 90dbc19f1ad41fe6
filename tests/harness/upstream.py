"""The server behind an HTTP proxy of the tests: passes a request on, and its answer back, unchanged."""

from contextlib import closing
from typing import Final

import httpx
from werkzeug import Request, Response

from shared.trust import trust_none

UPSTREAM_SECONDS: Final = 60.0
"""How long the server may take; a claim waits up to 30."""
NOT_REUSED: Final = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""A reused connection may be one that the server is about to close: a fault that no test asked for."""
OF_ONE_CONNECTION: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})
"""Headers of one connection (RFC 9110, 7.6.1), and those that the server adds itself."""


class Upstream:
    """`address` is a base address; close it after the last request."""

    def __init__(self, address: str) -> None:
        self._http = httpx.Client(
            base_url=address, timeout=UPSTREAM_SECONDS, limits=NOT_REUSED, trust_env=False, verify=trust_none()
        )

    def close(self) -> None:
        self._http.close()

    def outgoing(self, request: Request) -> httpx.Request:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in OF_ONE_CONNECTION]
        target = request.environ["RAW_URI"]
        return self._http.build_request(request.method, target, headers=headers, content=request.get_data())

    def ask(self, outgoing: httpx.Request) -> Response:
        """Return the answer unchanged, its encoding included. Raises TransportError."""
        with closing(self._http.send(outgoing, stream=True)) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name not in OF_ONE_CONNECTION]
            return Response(b"".join(answer.iter_raw()), answer.status_code, kept)
