"""A proxy in front of moto's S3 server. It refuses the requests that R2 refuses and moto accepts.

moto checks no signature, no time, no checksum and no multipart upload for parts of unequal sizes, and decodes
`aws-chunked` bodies (measured with moto 5.2.5). The signature covers the Host header that the client sends, not the
address that it connected to: a machine reaches this port through its gateway, and an unmodified client of R2 sends the
name of R2's host.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import IO, TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import httpx
from botocore.credentials import Credentials
from werkzeug import Request, Response
from werkzeug.exceptions import ClientDisconnected

from emulators.r2.bodies import CHECKSUM, Digests, require_size
from emulators.r2.checks import check
from emulators.r2.documents import part_numbers, part_sizes
from emulators.r2.multipart import MAX_PARTS, check_parts
from emulators.r2.operations import operation_of
from emulators.r2.request import NotAllowed, ReceivedRequest
from emulators.r2.signatures import SIGNING_PARAMETERS, without
from emulators.s3_backend import HEADER, MotoBackend
from shared.http_client import open_client

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CHUNK: Final = 1 << 16
IN_MEMORY: Final = 1 << 20
"""The number of bytes of a body to keep in memory. A longer body goes to a file."""
OF_ONE_CONNECTION: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})
"""Headers that belong to one connection (RFC 9110, 7.6.1), and those that the server adds itself."""
NOT_FORWARDED: Final = OF_ONE_CONNECTION | {"expect", "host", "x-amz-security-token", HEADER}


class CheckingProxy:
    """A WSGI application in front of the backend, moto. Close it after the last request."""

    def __init__(self, backend: MotoBackend, credentials: Credentials, clock: Callable[[], datetime]) -> None:
        self._credentials, self._clock, self._backend = credentials, clock, backend
        self._http = open_client(backend.url, timeout=60)

    def close(self) -> None:
        self._http.close()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
            return self._answer(request, body)(environ, start_response)

    def _answer(self, request: Request, body: IO[bytes]) -> Response:
        try:
            received = _receive(request, body)
            check(received, self._credentials, self._clock())
            if operation_of(received).name == "CompleteMultipartUpload":
                self._check_parts(received)
            return self._forward(received, body)
        except NotAllowed as refusal:
            return _error(refusal.status, refusal.code, refusal.message)
        except ClientDisconnected:
            return _error(400, "IncompleteBody", "The connection ended before the body did.")
        except httpx.TransportError:
            return _error(503, "ServiceUnavailable", "The server behind this one does not answer.")

    def _check_parts(self, received: ReceivedRequest) -> None:
        """Look up the sizes of the parts that the request names. moto itself refuses those that do not exist."""
        numbers = part_numbers(received.document)
        page = self._send("GET", f"{_target(received)}&max-parts={MAX_PARTS}", {}, None)
        document = page.read()
        sizes = part_sizes(document) if page.is_success else {}
        if numbers and sizes.keys() >= set(numbers):
            check_parts([sizes[number] for number in numbers])

    def _forward(self, received: ReceivedRequest, body: IO[bytes]) -> Response:
        headers = {name: value for name, value in received.headers.items() if name not in NOT_FORWARDED}
        if CHECKSUM in headers:
            headers["x-amz-sdk-checksum-algorithm"] = "SHA256"  # moto keeps a checksum only if this names it
        body.seek(0)
        answer = self._send(received.method, _target(received), headers, _chunks(body) if received.size else None)
        if answer.status_code == 500 and "uploadId" in received.parameters:  # moto fails if it finds no such upload
            answer.close()
            raise NotAllowed(404, "NoSuchUpload", "The upload does not exist. It may have been completed or aborted.")
        kept = [(name, value) for name, value in answer.headers.items() if name not in OF_ONE_CONNECTION]
        response = Response(answer.iter_raw(CHUNK), answer.status_code, kept)
        response.call_on_close(answer.close)
        return response

    def _send(
        self, method: str, target: str, headers: dict[str, str], content: Iterator[bytes] | None
    ) -> httpx.Response:
        headers = {**headers, **self._backend.headers}
        outgoing = self._http.build_request(method, "/", headers=headers, content=content)
        outgoing.extensions["target"] = target.encode()
        return self._http.send(outgoing, stream=True)


def _receive(request: Request, body: IO[bytes]) -> ReceivedRequest:
    """Read the whole body before any check but that of its size: unread bytes would break the client's connection."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    require_size(request.method, request.content_length or 0)
    digests = Digests(headers)
    for chunk in _chunks(request.stream):
        digests.update(chunk)
        body.write(chunk)
        require_size(request.method, body.tell())
    size, target = body.tell(), request.environ["RAW_URI"]
    body.seek(0)
    document = body.read() if request.method == "POST" else b""
    return ReceivedRequest(request.method, target, headers, size, digests.by_header(), document)


def _target(received: ReceivedRequest) -> str:
    return without(SIGNING_PARAMETERS, received.path_style)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _error(status: int, code: str, message: str) -> Response:
    document = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{document}', status, content_type="application/xml")
