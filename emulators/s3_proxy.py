"""A proxy in front of moto's S3 server. It refuses the requests that S3 refuses and moto accepts.

moto accepts presigned URLs that are expired or tampered with, and bodies other than the signed ones (measured with
moto 5.2.5). Requests signed by header are the control plane's own and pass unchanged. The signature covers the Host
header that the client sends, not the address that it connected to: a machine reaches this port through its gateway.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import IO, TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import httpx
from botocore.credentials import Credentials
from werkzeug import Request, Response
from werkzeug.exceptions import ClientDisconnected

from emulators.presigned import ALGORITHM, CHECKSUM, NotAllowed, Received, check, without_signature

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CHUNK: Final = 1 << 16
IN_MEMORY: Final = 1 << 20
"""The number of bytes of a body to keep in memory. A longer body goes to a file."""
OF_ONE_CONNECTION: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})
"""Headers that belong to one connection (RFC 9110, 7.6.1), and those that the server adds itself."""


class CheckingProxy:
    """A WSGI application. `backend` is moto's address. Close it after the last request."""

    def __init__(self, backend: str, credentials: Credentials, clock: Callable[[], datetime]) -> None:
        self._credentials, self._clock = credentials, clock
        self._http = httpx.Client(base_url=backend, timeout=60, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
            return self._answer(request, body)(environ, start_response)

    def _answer(self, request: Request, body: IO[bytes]) -> Response:
        try:
            received = _receive(request, body)
            if "X-Amz-Signature" in request.args:
                check(received, self._credentials, self._clock())
            elif not received.headers.get("authorization", "").startswith(ALGORITHM):
                raise NotAllowed(403, "AccessDenied", "Access Denied")
            return self._forward(received, body)
        except NotAllowed as refusal:
            return _error(refusal.status, refusal.code, refusal.message)
        except ClientDisconnected:
            return _error(400, "IncompleteBody", "The connection ended before the body did.")
        except httpx.TransportError:
            return _error(503, "ServiceUnavailable", "The server behind this one does not answer.")

    def _forward(self, received: Received, body: IO[bytes]) -> Response:
        headers = {name: value for name, value in received.headers.items() if name not in OF_ONE_CONNECTION}
        if CHECKSUM in headers:
            headers["x-amz-sdk-checksum-algorithm"] = "SHA256"  # moto keeps a checksum only if this names it
        body.seek(0)
        content = _chunks(body) if received.size else None
        outgoing = self._http.build_request(received.method, "/", headers=headers, content=content)
        outgoing.extensions["target"] = _target(received).encode()
        answer = self._http.send(outgoing, stream=True)
        kept = [(name, value) for name, value in answer.headers.items() if name not in OF_ONE_CONNECTION]
        response = Response(answer.iter_raw(CHUNK), answer.status_code, kept)
        response.call_on_close(answer.close)
        return response


def _receive(request: Request, body: IO[bytes]) -> Received:
    """Read the whole body first: a refusal with unread bytes would break the client's connection."""
    digest = hashlib.sha256()
    for chunk in _chunks(request.stream):
        digest.update(chunk)
        body.write(chunk)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Received(request.method, request.environ["RAW_URI"], headers, body.tell(), digest.digest())


def _target(received: Received) -> str:
    """Replace the signature in the target: moto needs one, and writes it to its log."""
    unsigned = without_signature(received.target)
    return unsigned if unsigned == received.target else f"{unsigned}&X-Amz-Signature=checked"


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _error(status: int, code: str, message: str) -> Response:
    document = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{document}', status, content_type="application/xml")
