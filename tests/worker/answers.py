"""Answers in place of the network: `Answers(handler)` is the transport of a worker's client."""

from collections.abc import Callable

import httpx


class Answers(httpx.BaseTransport):
    """Calls `handler` with each request as a server would see it: the target that it asks for is in its URL."""

    def __init__(self, handler: Callable[[httpx.Request], httpx.Response]) -> None:
        self._handler = handler

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if target := request.extensions.get("target"):
            request.url = request.url.copy_with(raw_path=target)
        request.read()
        return self._handler(request)
