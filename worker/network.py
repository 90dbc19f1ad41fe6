"""The worker's HTTP: one client for callbacks, source reads and uploads, and their common retries."""

import copy
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, TypeVar

import httpcore
import httpx
import stamina

from shared.public_address import is_loopback
from shared.trouble import explain
from worker.public_addresses import PublicBackend

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

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

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
        return self._made(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # it trusts no authority

    @cached_property
    def _secure(self) -> httpx.HTTPTransport:
        trusted = httpx.create_ssl_context()
        trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the launcher does: shared/trust.py
        if self._authorities is not None:
            trusted.load_verify_locations(cadata=self._authorities)
        return self._made(trusted)

    def _made(self, trusted: ssl.SSLContext) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(verify=trusted, limits=CONNECTIONS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._secure if request.url.scheme == "https" else self._plain
        return transport.handle_request(request)

    def close(self) -> None:
        for transport in vars(self).values():
            if isinstance(transport, httpx.HTTPTransport):
                transport.close()


class DirectToPublic(Direct):
    """Connects to public addresses if the URL names its host; if `private`, also to those of private networks."""

    def __init__(self, authorities: str | None, private: bool) -> None:
        super().__init__(authorities)
        self._private = private

    def _made(self, trusted: ssl.SSLContext) -> httpx.HTTPTransport:
        made = super()._made(trusted)
        made.close()
        made._pool = httpcore.ConnectionPool(  # httpx has no argument for the backend
            ssl_context=trusted,
            max_connections=CONNECTIONS.max_connections,
            max_keepalive_connections=CONNECTIONS.max_keepalive_connections,
            keepalive_expiry=CONNECTIONS.keepalive_expiry,
            network_backend=PublicBackend(self._private),
        )
        return made


class Proxied(Direct):
    """Sends every request through an HTTP proxy, which looks up the host in the URL and may refuse it."""

    def __init__(self, authorities: str | None, proxy: str) -> None:
        super().__init__(authorities)
        self._proxy = httpx.Proxy(proxy)

    def _made(self, trusted: ssl.SSLContext) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(verify=trusted, limits=CONNECTIONS, proxy=self._proxy)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The extension `target` would replace what the proxy is asked for."""
        if target := request.extensions.get("target"):
            request = httpx.Request(
                request.method,
                request.url.copy_with(raw_path=target),
                headers=request.headers,
                stream=request.stream,
                extensions={name: value for name, value in request.extensions.items() if name != "target"},
            )
        return super().handle_request(request)


class LoopbackGateway(httpx.BaseTransport):
    """Connects to `gateway`, where the machine reaches its host's loopback, in place of the host in the URL.

    The request itself, with its Host header, stays as it is: the signature of a presigned URL covers it.
    """

    def __init__(self, gateway: str, inner: httpx.BaseTransport) -> None:
        self._gateway, self._inner = gateway, inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._inner.handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=self._gateway),
                headers=request.headers,
                stream=request.stream,
                # The server's certificate has the name in the URL.
                extensions=request.extensions | {"sni_hostname": request.url.host},
            )
        )

    def close(self) -> None:
        self._inner.close()


class NoLoopback(httpx.BaseTransport):
    """Refuses every request."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("This machine does not reach its host's loopback addresses.", request=request)


class ByHost(httpx.BaseTransport):
    """Sends a request one way if its URL names a loopback address, and another way if not."""

    def __init__(self, loopback: httpx.BaseTransport, other: httpx.BaseTransport) -> None:
        self._loopback, self._other = loopback, other

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        way = self._loopback if is_loopback(request.url.host) else self._other
        return way.handle_request(request)

    def close(self) -> None:
        self._loopback.close()
        self._other.close()


class Client(httpx.Client):
    """The worker's HTTP client. It keeps no cookies, and knows no proxy of the environment, because it has its own
    transport.

    `fetch` is its short way: an export makes thousands of requests, and what a client adds takes as long as the rest.
    It has a transport of its own, for `sources`: what is read there, strangers may have published.
    """

    def __init__(self, transport: httpx.BaseTransport, sources: httpx.BaseTransport | None = None) -> None:
        refused = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        super().__init__(transport=transport, timeout=TIMEOUT, cookies=refused)
        self._sources = sources or transport

    def close(self) -> None:
        super().close()
        self._sources.close()

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        self._sources.close()

    def fetch(self, url: str) -> httpx.Response:
        """GET the URL, with no other headers than those of `FETCH`, and follow no redirect. Close the answer.

        Raises AddressRefused if the URL names its host, and the name leads to no public address.

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
        return self._sources.handle_request(request)


@lru_cache(maxsize=16)
def _request_to(origin: str) -> httpx.Request:
    """Return a request of which copies are sent: a copy takes a seventh of the time that a new one takes."""
    return httpx.Request("GET", origin, headers=FETCH)


def client(
    loopback_gateway: str | None, authorities: str | None = None, proxy: str | None = None, private: bool = False
) -> Client:
    """Return the client for all of the worker's HTTP.

    Loopback addresses are those of `loopback_gateway`, or this machine's own; a machine that has a proxy and no gateway
    reaches none. Anything else goes through the proxy, if there is one: then the proxy checks addresses. If `private`,
    the names of sources may lead to private networks.
    """
    direct = Direct(authorities)
    loopback: httpx.BaseTransport = direct
    if loopback_gateway is not None:
        loopback = LoopbackGateway(loopback_gateway, direct)
    elif proxy is not None:
        loopback = NoLoopback()
    if proxy is not None:
        return Client(ByHost(loopback, Proxied(authorities, proxy)))
    return Client(ByHost(loopback, direct), ByHost(loopback, DirectToPublic(authorities, private)))


def proxy_variables(proxy: str | None, gateway: str | None) -> Mapping[str, str]:
    """Return the variables by which programs find the proxy, as curl, Go and Python read them. Empty without one."""
    if proxy is None:
        return {}
    direct = ",".join((*LOCAL_HOSTS, *([gateway] if gateway else [])))
    variables = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct}
    return variables | {name.lower(): value for name, value in variables.items()}


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
