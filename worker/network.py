"""The worker's HTTP: one client for callbacks, source reads and uploads, and the patience that they share."""

import ssl
from collections.abc import Callable
from functools import cached_property
from typing import Final, TypeVar

import httpx
import stamina

from shared.address import is_loopback
from shared.trouble import explain

TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
"""Seconds without progress before a try is given up."""
TRIES: Final = 5
FIRST_WAIT: Final = 0.5
MOST_WAIT: Final = 15.0
"""Seconds between tries: doubling from the first, with up to as much again of jitter."""

T = TypeVar("T")


class NoAnswer(Exception):
    """None however often it was tried, or one that says to try again (5xx, 429). The message carries no URL."""


class Direct(httpx.BaseTransport):
    """Connects to where a URL says. `authorities`, as PEM, are trusted beside the public ones.

    The certificate authorities are read when the first https URL comes: under emulation that takes two seconds.
    """

    def __init__(self, authorities: str | None) -> None:
        self._authorities = authorities

    @cached_property
    def _plain(self) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # which trusts nobody

    @cached_property
    def _secure(self) -> httpx.HTTPTransport:
        trusted = httpx.create_ssl_context()
        trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as its launcher does: shared/trust.py
        if self._authorities is not None:
            trusted.load_verify_locations(cadata=self._authorities)
        return httpx.HTTPTransport(verify=trusted)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._secure if request.url.scheme == "https" else self._plain
        return transport.handle_request(request)

    def close(self) -> None:
        for transport in vars(self).values():
            if isinstance(transport, httpx.HTTPTransport):
                transport.close()


class LoopbackGateway(httpx.BaseTransport):
    """Connects to `gateway` where a URL names a loopback address: there the machine finds its host's.

    The request stays as it is, its Host header above all: a presigned URL's signature covers it.
    """

    def __init__(self, gateway: str, inner: httpx.BaseTransport) -> None:
        self._gateway, self._inner = gateway, inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if is_loopback(request.url.host):
            request = httpx.Request(
                request.method,
                request.url.copy_with(host=self._gateway),
                headers=request.headers,
                stream=request.stream,
                # A certificate is made out to the name in the URL.
                extensions=request.extensions | {"sni_hostname": request.url.host},
            )
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def client(loopback_gateway: str | None, authorities: str | None = None) -> httpx.Client:
    """Return the client that all of the worker's HTTP goes through. With a transport of its own it asks no proxy."""
    direct = Direct(authorities)
    transport = LoopbackGateway(loopback_gateway, direct) if loopback_gateway else direct
    return httpx.Client(transport=transport, timeout=TIMEOUT)


def persist(call: Callable[[], T], tries: int = TRIES) -> T:
    """Return what `call` returns, having tried `tries` times at most. Raises NoAnswer."""
    waits = {"wait_initial": FIRST_WAIT, "wait_max": MOST_WAIT, "wait_jitter": FIRST_WAIT}
    for attempt in stamina.retry_context(on=NoAnswer, attempts=tries, timeout=None, **waits):
        with attempt:
            return once(call)
    raise AssertionError("stamina returns or raises")


def answered(response: httpx.Response) -> httpx.Response:
    """Return a response that is an answer. Raises NoAnswer where it says to try again."""
    if response.status_code >= 500 or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise NoAnswer(f"{response.status_code} {response.reason_phrase}".strip())
    return response


def once(call: Callable[[], T]) -> T:
    """Return what `call` returns. Raises NoAnswer."""
    try:
        return call()
    except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:  # whose text may hold a header, or a URL
        raise NoAnswer(explain(error)) from None
