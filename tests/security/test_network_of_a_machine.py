"""The network of a machine: a process in it, its forwarder, and servers of this host."""

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import pytest

from launcher.host import confine, forwarding
from launcher.host.confinement import PROXY_PORT, Confinement, Reach, command
from launcher.host.forwarding import ForwardingProxy, Log, ProxyRefusal, ProxyRequest, parse

LIMIT: Final = 120
TRIES: Final = """
import json, socket, sys
def said(address, words, family=socket.AF_INET):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(60)
            client.connect(address)
            client.sendall(words.encode())
            return client.makefile("rb").readline().decode().strip()
    except OSError as error:
        return type(error).__name__
tries = json.loads(sys.argv[1])
print(json.dumps([
    said(address, words, socket.AF_UNIX) if isinstance(address, str) else said(tuple(address), words)
    for address, words in tries
]))
"""
REACHED: Final = "reached"


class Server:
    """Answers each connection with `reached`, and counts them."""

    def __init__(self, listening: socket.socket) -> None:
        self.connections = 0
        self._listening = listening

    def serve(self) -> None:
        with suppress(OSError):  # the socket is closed at the end
            while True:
                with self._listening.accept()[0] as client:
                    self.connections += 1
                    client.sendall(f"{REACHED}\n".encode())


@contextmanager
def serving(listening: socket.socket) -> Iterator[Server]:
    with listening:
        server = Server(listening)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def a_socket() -> tuple[socket.socket, int]:
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, listening.getsockname()[1]


def tried(reach: Reach, tries: Sequence[tuple[Any, str]], prefix: Sequence[str] = ()) -> list[str]:
    """Return the first line of each answer that a process in such a network gets, or its error's name."""
    program = (sys.executable, "-I", "-c", TRIES, json.dumps(tries))
    argv = [*prefix, *command(Confinement(reach=reach), program)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def bounded(changes: str) -> tuple[str, ...]:
    """Return the beginning of a command that changes root's bounding set; () if this is not root.

    `changes` is as setpriv(1) has it: `-setuid`, or `-all,+kill`.
    """
    return ("/usr/bin/setpriv", "--bounding-set", changes) if os.geteuid() == 0 else ()


WITHOUT_ADMINISTRATION: Final = bounded("-sys_admin")
"""Without the right to make a network namespace: root, too, needs a user namespace for that."""


def gives_user_namespaces() -> bool:
    """Return whether this host lets a process without rights make one: not in a chroot, for instance."""
    argv = [*WITHOUT_ADMINISTRATION, "/usr/bin/unshare", "--user", "/bin/true"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("prefix", [(), *([WITHOUT_ADMINISTRATION] if gives_user_namespaces() else [])])
def test_an_allowed_endpoint_of_the_loopback_is_reached_at_its_own_port_and_no_other_is(
    prefix: Sequence[str],
) -> None:
    (allowed, port), (other, others_port) = a_socket(), a_socket()
    with serving(allowed), serving(other) as canary:
        tries = [(("127.0.0.1", port), ""), (("127.0.0.1", others_port), "")]
        answers = tried(Reach(endpoints=(("127.0.0.1", port),)), tries, prefix)

    assert answers == [REACHED, "ConnectionRefusedError"]
    assert canary.connections == 0


def test_a_private_network_and_a_socket_of_an_abstract_name_are_out_of_reach() -> None:
    name = "\0launchyard-test-of-guests"
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(name)
    abstract.listen()
    with serving(abstract) as canary:
        answers = tried(Reach(), [(("10.1.2.3", 80), ""), (("169.254.169.254", 80), ""), (name, "")])

    assert answers == ["OSError", "OSError", "ConnectionRefusedError"]  # there is no route
    assert canary.connections == 0


def test_the_proxy_refuses_the_loopback_in_every_form_and_by_name() -> None:
    listening, port = a_socket()
    hosts = ["127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f000001", "0", "[::1]"]
    hosts += ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[::127.0.0.1]", socket.gethostname()]
    heads = [form.format(f"{host}:{port}") for host in hosts for form in ("CONNECT {}", "GET http://{}/")]
    with serving(listening) as canary:
        answers = tried(Reach(), [(("127.0.0.1", PROXY_PORT), f"{head} HTTP/1.1\r\n\r\n") for head in heads])

    assert {answer.split(" ")[1] for answer in answers} <= {"403", "502"}  # 502: a name that has no address here
    assert answers.count("HTTP/1.1 403 Forbidden") >= 20
    assert canary.connections == 0


def test_the_proxy_reaches_what_the_operator_allows_by_a_tunnel_and_by_a_request() -> None:
    listening, port = a_socket()
    tunnel, request = (
        f"{form} HTTP/1.1\r\n\r\n" for form in (f"CONNECT localhost:{port}", f"GET http://localhost:{port}/")
    )
    with serving(listening):
        answers = tried(
            Reach(endpoints=(("localhost", port),)),
            [(("127.0.0.1", PROXY_PORT), tunnel), (("127.0.0.1", PROXY_PORT), request)],
        )

    assert answers == ["HTTP/1.1 200 Connection established", REACHED]


def test_a_name_is_looked_up_once_and_the_connection_is_made_to_the_address_that_was_checked() -> None:
    answers, connected = iter([["8.8.8.8", "127.0.0.1"], ["127.0.0.1"]]), list[str]()

    async def resolved(_host: str, _port: int) -> list[str]:
        return next(answers)

    async def connect(host: str, _port: int) -> Any:
        connected.append(host)
        raise OSError("nobody answers")

    proxy = ForwardingProxy(Reach(), Log(), resolved, connect)

    with pytest.raises(ProxyRefusal, match="does not answer"):
        asyncio.run(proxy.open(ProxyRequest("rebinds.example", 80, None)))

    assert connected == ["8.8.8.8"]


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1",
        "GET https://example.com/ HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET http://user@example.com/ HTTP/1.1",
        "CONNECT example.com HTTP/1.1",
        "CONNECT example.com:99999 HTTP/1.1",
        "CONNECT :80 HTTP/1.1",
        "CONNECT [::1:80 HTTP/1.1",
        "CONNECT example.com:80",
        "CONNECT example.com:80 HTTP/2",
        "",
    ],
)
def test_what_is_no_request_to_a_proxy_is_refused(head: str) -> None:
    with pytest.raises(ProxyRefusal) as refused:
        parse(f"{head}\r\n\r\n".encode())

    assert refused.value.status == "400 Bad Request"


def test_a_request_is_passed_on_for_its_own_host_and_for_one_answer() -> None:
    head = (
        "GET http://example.com:8080/a?b=c HTTP/1.1\r\nHost: 127.0.0.1\r\nProxy-Authorization: x\r\nAccept: */*\r\n\r\n"
    )

    assert parse(head.encode()) == ProxyRequest(
        "example.com",
        8080,
        b"GET /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    )


def test_a_machine_has_a_bounded_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "MAX_CONNECTIONS", 2)
    served: list[int] = []

    async def exceed() -> None:
        async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            served.append(1)
            await reader.read()

        bounded = forwarding.Connections().bounded(serve)
        server = await asyncio.start_server(bounded, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        while len(served) < 2:
            await asyncio.sleep(0)
        extra = await asyncio.open_connection("127.0.0.1", port)
        while len(served) < 3 and not (extra[0].at_eof() or extra[0].exception()):
            await asyncio.sleep(0)
        for _, writer in (*clients, extra):
            writer.close()
        server.close()
        await server.wait_closed()

    asyncio.run(exceed())

    assert len(served) == 2


def test_a_guest_cannot_fill_the_log_with_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    for port in range(1, 1000):
        log.refused("127.0.0.1\nforged line", port)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == forwarding.MAX_LINES
    assert all(line.startswith("[network] The machine was refused '127.0.0.1\\nforged line'") for line in lines)
    assert lines[-1].endswith("Further refusals are not logged.")


def test_a_host_that_gives_no_namespace_confines_nothing_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: str, *_arguments: int) -> None:
        if function == "unshare":
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(confine, "call", refuse)
    monkeypatch.setattr(confine, "_become", lambda _user: None)

    with pytest.raises(confine.NotConfined, match=r"no network namespace .*To do: .*LAUNCHYARD_SLICE"):
        confine._unshare_network(None)
