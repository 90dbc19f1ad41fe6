"""The worker's HTTP: one client for callbacks, source reads and uploads, and their common retries."""

import copy
import re
import ssl
from collections.abc import Callable, Iterable
from functools import cache, cached_property, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, TypeVar

import httpx
import stamina

from shared.address import is_loopback
from shared.trouble import explain

TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
"""Seconds without progress before a try fails."""
PATIENCE: Final = TIMEOUT.as_dict()
CONNECTIONS: Final = httpx.Limits(max_connections=128, max_keepalive_connections=128)
"""An export reads with up to 100 threads, and reports must not wait for them."""
FETCH: Final = httpx.Headers({"Accept-Encoding": "identity"})
"""Compressed, a few bytes may stand for gigabytes."""
NOTHING: Final = httpx.ByteStream(b"")
AS_IT_STANDS: Final = re.compile(r"(https?://[^/?#]+)(/[A-Za-z0-9/_~-]*)")
"""An origin and a path of which nothing needs to be quoted or normalised."""
RETRYABLE: Final = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT})
TRIES: Final = 5
FIRST_WAIT: Final = 0.5
MAX_WAIT: Final = 15.0
"""Seconds between tries. The wait doubles from the first one on, with up to half a second of jitter."""

T = TypeVar("T")


class NoHttpAnswer(Exception):
    """No try was answered, or the last answer means “try again” (5xx, 429, 408). The message holds no URL."""


class Direct(httpx.BaseTransport):
    """Connects to the host in the URL. `authorities` (PEM) are trusted in addition to the public ones.

    It reads the certificate authorities for the first https URL only: under emulation that takes two seconds.
    """

    def __init__(self, authorities: str | None) -> None:
        self._authorities = authorities

    @cached_property
    def _plain(self) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), limits=CONNECTIONS
        )  # it trusts no authority

    @cached_property
    def _secure(self) -> httpx.HTTPTransport:
        trusted = httpx.create_ssl_context()
        trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the launcher does: shared/trust.py
        if self._authorities is not None:
            trusted.load_verify_locations(cadata=self._authorities)
        return httpx.HTTPTransport(verify=trusted, limits=CONNECTIONS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._secure if request.url.scheme == "https" else self._plain
        return transport.handle_request(request)

    def close(self) -> None:
        for transport in vars(self).values():
            if isinstance(transport, httpx.HTTPTransport):
                transport.close()


class LoopbackGateway(httpx.BaseTransport):
    """Connects to `gateway` if the URL names a loopback address: the machine reaches its host's loopback there.

    The request itself, with its Host header, stays as it is: the signature of a presigned URL covers it.
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
                # The server's certificate has the name in the URL.
                extensions=request.extensions | {"sni_hostname": request.url.host},
            )
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class Client(httpx.Client):
    """The worker's HTTP client. It keeps no cookies, and has no proxy, because it has its own transport.

    `fetch` is its short way: an export makes thousands of requests, and what a client adds takes as long as the rest.
    """

    def __init__(self, transport: httpx.BaseTransport) -> None:
        refused = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        super().__init__(transport=transport, timeout=TIMEOUT, cookies=refused)
        self._way = transport

    def fetch(self, url: str) -> httpx.Response:
        """GET the URL, with no other headers than those of `FETCH`, and follow no redirect. Close the answer.

        The request names the origin only; what to ask for there is its extension `target`.
        """
        if matched := AS_IT_STANDS.fullmatch(url):
            origin, target = matched[1], matched[2].encode()
        else:
            parsed = httpx.URL(url)
            origin, target = str(parsed.copy_with(raw_path=b"/", fragment=None)), parsed.raw_path
        request = copy.copy(_request_to(origin))
        request.stream = NOTHING
        request.extensions = {"timeout": PATIENCE, "target": target}
        return self._way.handle_request(request)


@lru_cache(maxsize=16)
def _request_to(origin: str) -> httpx.Request:
    """Return a request of which copies are sent: a copy takes a seventh of the time that a new one takes."""
    return httpx.Request("GET", origin, headers=FETCH)


def client(loopback_gateway: str | None, authorities: str | None = None) -> Client:
    """Return the client for all of the worker's HTTP."""
    direct = Direct(authorities)
    return Client(LoopbackGateway(loopback_gateway, direct) if loopback_gateway else direct)


def at_gateway(url: str, gateway: str | None) -> str:
    """Return the URL for a program that connects without our transport: a loopback host becomes the gateway."""
    parsed = httpx.URL(url)
    return str(parsed.copy_with(host=gateway)) if gateway and is_loopback(parsed.host) else url


def persist(call: Callable[[], T], tries: int = TRIES) -> T:
    """Return the result of `call`, after at most `tries` tries. Raises NoHttpAnswer.

    The first try comes before the library's loop, which takes as long as a request: almost every first try is answered.
    """
    try:
        return once(call)
    except NoHttpAnswer as error:
        unanswered = error
    for attempt in _attempts(tries):
        with attempt:
            if attempt.num == 1:
                raise unanswered
            return once(call)
    raise AssertionError("stamina returns or raises")


@cache
def _attempts(tries: int) -> Iterable[stamina.Attempt]:
    """Each iteration over the result begins anew."""
    waits = {"wait_initial": FIRST_WAIT, "wait_max": MAX_WAIT, "wait_jitter": FIRST_WAIT}
    return stamina.retry_context(on=NoHttpAnswer, attempts=tries, timeout=None, **waits)


def answered(response: httpx.Response) -> httpx.Response:
    """Return the response. Raises NoHttpAnswer if its status means “try again”."""
    if response.status_code >= 500 or response.status_code in RETRYABLE:
        raise NoHttpAnswer(f"{response.status_code} {response.reason_phrase}".strip())
    return response


def once(call: Callable[[], T]) -> T:
    """Return the result of `call`. Raises NoHttpAnswer."""
    try:
        return call()
    except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:  # its text may hold a header, or a URL
        raise NoHttpAnswer(explain(error)) from None
