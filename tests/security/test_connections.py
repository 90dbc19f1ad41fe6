"""Connections that bring little, slowly or without an end do not keep the others from being served: a real process."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server, answers_ok, await_ready, start, stop
from functions import server as functions_server
from tests.functions.test_process import ENVIRONMENT
from tests.functions.world import CLIENT
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS, MAX_SECONDS, await_value

THREADS: Final = 8
MANY: Final = 64
"""More connections than there are threads."""
HALF_A_HEAD: Final = f"POST /v1/orders HTTP/1.1\r\nHost: {LOOPBACK}\r\nX-Head: ".encode()
KEY: Final = f"Authorization: Bearer {CLIENT}\r\n"


def argv(port: int) -> list[str]:
    module = [sys.executable, "-m", "functions.server"]
    return [*module, "--target", "everything", "--host", LOOPBACK, "--port", str(port)]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port, log = free_port(), tmp_path_factory.mktemp("functions") / "functions.log"
    server: Server = start("the functions", argv(port), log, {**ENVIRONMENT, "THREADS": str(THREADS)})
    await_ready(server, lambda: healthy(port, 5))
    yield port
    stop(server)


@pytest.fixture
def connections() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def healthy(port: int, seconds: float = ANSWER_SECONDS) -> bool:
    return answers_ok(port, "/v1/health", seconds)


def connect(stack: ExitStack, port: int, sent: bytes) -> socket.socket:
    connection = stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS))
    connection.sendall(sent)
    return connection


def head(request_line: str, fields: str = KEY, length: int = 1000) -> bytes:
    return f"{request_line} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{fields}Content-Length: {length}\r\n\r\n".encode()


def status_of(connection: socket.socket) -> int:
    with connection.makefile("rb") as answer:
        return int(answer.readline().split()[1])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head("POST /v1/orders", ""), 401),
        (head("POST /v1/orders", "Authorization: Bearer nobodys\r\n"), 401),
        (head("POST /v1/claims"), 403),
        (head("POST /nothing"), 404),
        (head("PUT /v1/orders"), 405),
        (head("POST /v1/orders", length=2_000_000), 413),
        (head("POST /api/v1/accounts", "Content-Type: text/plain\r\n"), 415),
        (head("POST /api/v1/launchers/capacity/orders/claim", ""), 401),
        (head("POST /export/nothing", ""), 404),
        (head("POST /jobs", ""), 401),
    ],
)
def test_a_request_that_is_refused_by_its_head_is_answered_before_its_body_comes(
    port: int, connections: ExitStack, sent: bytes, status: int
) -> None:
    """More of them than there are threads stay, and nobody is kept waiting."""
    waiting = [connect(connections, port, sent + b"{") for _ in range(MANY)]

    assert [status_of(connection) for connection in waiting] == [status] * MANY
    assert healthy(port)


def test_bodies_that_do_not_come_are_given_up_while_many_are_awaited(port: int, connections: ExitStack) -> None:
    """Their callers may send them: each holds a thread for seconds, until it is answered with 408."""
    waiting = [connect(connections, port, head("POST /v1/orders") + b"{") for _ in range(2 * THREADS)]

    assert healthy(port)
    assert [status_of(connection) for connection in waiting] == [408] * len(waiting)


def test_half_sent_heads_hold_no_threads(port: int, connections: ExitStack) -> None:
    for _ in range(80):
        connect(connections, port, HALF_A_HEAD)

    assert all(healthy(port) for _ in range(20))


def test_a_head_that_comes_byte_by_byte_is_served(port: int, connections: ExitStack) -> None:
    connection = connect(connections, port, b"")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in f"GET /v1/health HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode():
        connection.sendall(bytes([byte]))

    assert status_of(connection) == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"x" * 9_000, 414),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 9_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X-Many: x\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X-Many: " + b"x" * functions_server.MAX_HEAD, 431),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nExpect: the-unexpected\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET /v1/health HTTP/1.1\r\nSCRIPT_NAME: /elsewhere\r\n\r\n", 200),
    ],
)
def test_a_head_without_measure_or_form_is_the_senders_mistake(
    port: int, connections: ExitStack, sent: bytes, status: int
) -> None:
    connection = connect(connections, port, sent)

    with connection.makefile("rb") as answer:
        received = answer.read()
    assert int(received.split()[1]) == status
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in received


def test_a_request_line_of_16_mib_is_cut_off(port: int, connections: ExitStack) -> None:
    connection = connect(connections, port, b"GET /")

    with pytest.raises(ConnectionError):
        connection.sendall(b"x" * 16 * 1024 * 1024)

    assert healthy(port)


def test_clients_that_leave_answered_connections_open_hold_up_nobody(port: int, connections: ExitStack) -> None:
    """gunicorn's own loop would wait 2 s for each of them, one after the other."""
    for _ in range(MANY + 16):
        connect(connections, port, f"GET /v1/health HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode())

    assert healthy(port)


def test_a_client_that_sends_its_whole_body_is_told_why_it_was_refused(port: int) -> None:
    """The server reads on until the client has seen the answer."""
    answers = [
        plain_http.post(f"http://{LOOPBACK}:{port}/v1/orders", content=b" " * 900_000, timeout=ANSWER_SECONDS)
        for _ in range(10)
    ]

    assert [answer.status_code for answer in answers] == [401] * 10


def test_a_connection_is_closed_once_its_request_is_answered(port: int, connections: ExitStack) -> None:
    request = f"GET /v1/health HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n".encode()
    connection = connect(connections, port, request * 2)

    with connection.makefile("rb") as answer:
        received = answer.read()
    assert received.count(b"HTTP/1.1 200") == 1
    assert b"\r\nConnection: close\r\n" in received


def test_half_a_head_does_not_keep_a_server_from_ending(tmp_path: Path, connections: ExitStack) -> None:
    port = free_port()
    process = subprocess.Popen(argv(port), env={**ENVIRONMENT, "THREADS": str(THREADS)}, cwd=tmp_path)
    try:
        await_value(lambda: healthy(port, 5), "the functions")
        half = connect(connections, port, HALF_A_HEAD)
        with httpx.Client(timeout=ANSWER_SECONDS) as http:  # by this answer, the half head was read
            http.get(f"http://{LOOPBACK}:{port}/v1/health")

        process.send_signal(signal.SIGTERM)

        assert status_of(half) == 408
        assert process.wait(MAX_SECONDS) == 0
    finally:
        process.kill()
