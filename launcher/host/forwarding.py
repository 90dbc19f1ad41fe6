"""The forwarder's connections: to allowed endpoints of this host, and through its HTTP proxy. All are bounded.

The proxy looks a name up once, and connects to the address that was checked: a name may have another address later.
"""

import asyncio
import os
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from launcher.host.confinement import Reach
from launcher.host.reachable import is_reachable

MAX_CONNECTIONS: Final = 256
HEAD_BYTES: Final = 32 * 1024
"""The longest head of a request, and the most that is held of each direction of a connection, twice."""
HEAD_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 10.0
"""For each address of a name, and for looking it up."""
IDLE_SECONDS: Final = 900.0
"""How long a connection may be silent in both directions."""
MAX_LINES: Final = 100
"""How many refusals are logged."""
HTTP_PORT: Final = 80
OF_A_HOP: Final = frozenset({"connection", "proxy-connection", "keep-alive", "proxy-authorization", "host"})
"""Headers of one hop, and the host, which the proxy sets anew (RFC 9112, 3.2.2)."""

Endpoint = tuple[str, int]
Connection = tuple[StreamReader, StreamWriter]


class ProxyRefusal(Exception):
    """A request that is not carried out: the status and the words of the answer."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """What the proxy is asked for: where to connect, and what to send there first; None: a tunnel."""

    host: str
    port: int
    head: bytes | None


def run(reach: Reach, proxy: socket.socket, forwarded: Sequence[tuple[Endpoint, socket.socket]], machine: int) -> None:
    """Serve until the process of the pidfd `machine` has ended."""
    asyncio.run(_serve(reach, proxy, forwarded, machine))


async def _serve(
    reach: Reach, proxy: socket.socket, forwarded: Sequence[tuple[Endpoint, socket.socket]], machine: int
) -> None:
    loop, connections, log = asyncio.get_running_loop(), Connections(), Log()
    # The machine's end: nothing is left to serve, and a name that is being looked up must not keep this process.
    loop.add_reader(machine, os._exit, 0)
    for endpoint, listening in forwarded:
        forward = _forwarding(endpoint)
        await asyncio.start_server(connections.bounded(forward), sock=listening, limit=HEAD_BYTES)
    serve = ForwardingProxy(reach, log, resolved, connected).serve
    await asyncio.start_server(connections.bounded(serve), sock=proxy, limit=HEAD_BYTES)
    await loop.create_future()


class Connections:
    """Counts the connections of all sockets. What comes above MAX_CONNECTIONS is closed at once."""

    def __init__(self) -> None:
        self._open = 0

    def bounded(
        self, serve: Callable[[StreamReader, StreamWriter], Awaitable[None]]
    ) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
        async def within_bounds(reader: StreamReader, writer: StreamWriter) -> None:
            if self._open >= MAX_CONNECTIONS:
                writer.transport.abort()
                return
            self._open += 1
            try:
                # Either end may go at any time; that ends the connection, and nothing else.
                with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    await serve(reader, writer)
            finally:
                self._open -= 1
                writer.close()

        return within_bounds


class Log:
    """Writes the first refusals to the machine's log: a guest could fill it."""

    def __init__(self) -> None:
        self._left = MAX_LINES

    def refused(self, host: str, port: int) -> None:
        if self._left > 0:
            self._left -= 1
            more = "" if self._left else " Further refusals are not logged."
            sys.stderr.write(f"[network] The machine was refused {host!a}, port {port}.{more}\n")
            sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class ForwardingProxy:
    """`resolve` looks a name up, once for each request. `connect` connects to one of its addresses."""

    reach: Reach
    log: Log
    resolve: Callable[[str, int], Awaitable[Sequence[str]]]
    connect: Callable[[str, int], Awaitable[Connection]]

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one request: by a tunnel, or by the server's own answer to it."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                request = parse(await reader.readuntil(b"\r\n\r\n"))
            server = await self.open(request)
        except ProxyRefusal as refused:
            writer.write(_answer(refused.status, f"{refused}\n"))
            await writer.drain()
            return
        if request.head is None:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            server[1].write(request.head)
        await _relay((reader, writer), server)

    async def open(self, request: ProxyRequest) -> Connection:
        """Connect to the first address that is allowed and answers. Raises ProxyRefusal."""
        named = (request.host.lower(), request.port) in self.reach.endpoints
        addresses = await self.resolve(request.host, request.port)
        allowed = [one for one in addresses if named or is_reachable(one, request.port, self.reach)]
        if not allowed:
            self.log.refused(request.host, request.port)
            raise ProxyRefusal("403 Forbidden", f"This machine does not reach {request.host!a}, port {request.port}.")
        for address in allowed:
            with suppress(OSError, TimeoutError):
                return await self.connect(address, request.port)
        raise ProxyRefusal("502 Bad Gateway", f"{request.host!a}, port {request.port}, does not answer.")


def parse(head: bytes) -> ProxyRequest:
    """Read the head of a request to a proxy. Raises ProxyRefusal."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    try:
        method, target, version = first.split(" ")
        if method == "CONNECT":
            parsed = urlsplit(f"//{target}")
            host, port = parsed.hostname, parsed.port
        else:
            parsed = urlsplit(target)
            host, port = parsed.hostname, parsed.port or HTTP_PORT
    except ValueError:
        raise ProxyRefusal("400 Bad Request", "This is no request that a proxy carries out.") from None
    wanted = "" if method == "CONNECT" else "http"
    if not host or not port or parsed.scheme != wanted or parsed.username is not None or version[:7] != "HTTP/1.":
        raise ProxyRefusal(
            "400 Bad Request", "A proxy carries out CONNECT host:port, and requests for http:// addresses."
        )
    if method == "CONNECT":
        return ProxyRequest(host, port, None)
    kept = [line for line in lines if line.partition(":")[0].strip().lower() not in OF_A_HOP]
    path = f"{parsed.path or '/'}{'?' if parsed.query else ''}{parsed.query}"
    sent = [f"{method} {path} {version}", f"Host: {parsed.netloc}", *kept, "Connection: close", "", ""]
    return ProxyRequest(host, port, "\r\n".join(sent).encode("latin-1"))


async def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host. Raises ProxyRefusal."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ProxyRefusal("502 Bad Gateway", f"The name {host!a} has no address.") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def connected(host: str, port: int) -> Connection:
    async with asyncio.timeout(CONNECT_SECONDS):
        return await asyncio.open_connection(host, port, limit=HEAD_BYTES)


def _forwarding(endpoint: Endpoint) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
    async def forward(reader: StreamReader, writer: StreamWriter) -> None:
        await _relay((reader, writer), await connected(*endpoint))

    return forward


async def _relay(one: Connection, other: Connection) -> None:
    """Copy in both directions, until both are at their end or all is silent. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(IDLE_SECONDS) as silence, asyncio.TaskGroup() as both:

            async def copy(reader: StreamReader, writer: StreamWriter) -> None:
                with suppress(OSError):  # the other direction ends by itself
                    while data := await reader.read(HEAD_BYTES):
                        silence.reschedule(loop.time() + IDLE_SECONDS)
                        writer.write(data)
                        await writer.drain()
                    writer.write_eof()

            both.create_task(copy(one[0], other[1]))
            both.create_task(copy(other[0], one[1]))
    finally:
        other[1].close()


def _answer(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode("latin-1")
