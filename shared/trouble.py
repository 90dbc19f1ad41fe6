"""Explains why a server did not answer. The libraries' own messages may repeat a header or a URL, ours do not."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

NOT_TRUSTED: Final = "have SSL_CERT_FILE name a file with its authority's certificate"
CERTIFICATES: Final = {
    9: "check this machine's clock",
    10: "have it renewed, and check this machine's clock",
    18: NOT_TRUSTED,
    19: NOT_TRUSTED,
    20: NOT_TRUSTED,
    21: NOT_TRUSTED,
    62: "use a name that it is made out to",
    64: "use a name that it is made out to",
}
"""The remedy for each of OpenSSL's verification codes (x509_vfy.h)."""
NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
"""OpenSSL's reasons if the answer is not a TLS record."""

ERRNOS: Final = {
    errno.ECONNREFUSED: "nothing listens there: check the address and the port, and that it runs",
    errno.ECONNRESET: "it closed the connection: check the port, and http:// or https://",
    errno.EHOSTUNREACH: "its network cannot be reached: check routes and firewall",
    errno.ENETUNREACH: "its network cannot be reached: check routes and firewall",
}
CLASSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (httpx.ConnectTimeout, "no connection in time: check the address, routes and the firewall"),
    (httpx.PoolTimeout, "all connections to it were busy"),
    (httpx.TimeoutException, "no answer in time"),
    (httpx.ProxyError, "its proxy refused"),
    (httpx.LocalProtocolError, "the request holds what HTTP cannot carry"),
    (httpx.RemoteProtocolError, "its answer is not HTTP, or incomplete: check the port, and http:// or https://"),
    (httpx.UnsupportedProtocol, "its address begins with neither http:// nor https://"),
    (httpx.DecodingError, "its answer cannot be decoded"),
    (httpx.TooManyRedirects, "it redirects without end"),
    (httpx.ReadError, "the connection was lost"),
    (httpx.WriteError, "the connection was lost"),
    (httpx.InvalidURL, "the address is misspelt"),
    (UnicodeError, "the address or a header holds a character that cannot be sent"),
)


def explain(error: Exception) -> str:
    """Return the reason as the second half of a sentence. It repeats nothing that was sent."""
    for cause in _causes(error):
        if (reason := _by_cause(cause)) is not None:
            return reason
    return next((words for kind, words in CLASSES if isinstance(error, kind)), type(error).__name__)


def _by_cause(cause: BaseException) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        remedy = CERTIFICATES.get(cause.verify_code, "look at it with `openssl s_client`")
        return f"its certificate is not trusted ({cause.verify_message}): {remedy}"
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "reason", None)  # only OpenSSL's own errors have one
        if reason in NO_TLS:
            return "it does not speak TLS at that port: check the port, and whether it is http://"
        return f"the TLS handshake failed ({reason or type(cause).__name__})"
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return "its name cannot be looked up now: check the name server"
        return "its name is not known: check the address and the name server"
    if isinstance(cause, OSError) and cause.errno is not None:
        return ERRNOS.get(cause.errno) or os.strerror(cause.errno)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, the outermost first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
