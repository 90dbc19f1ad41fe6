"""A caller that has hung up gets no order: its lease would have to run out before another launcher got it."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import pytest

from emulators.processes import LOOPBACK
from emulators.serving import serving
from functions.domain.accounts import AccountType
from functions.http.endpoint import SOCKETS, connection_of
from functions.http.presence import presence
from shared.domain.order import State
from tests.factories import CAPACITY
from tests.functions.world import LAUNCHER, World, next_of
from tests.meanwhile import Meanwhile

MAX_SECONDS: Final = 300.0
CLAIM: Final = "/api/v1/launchers/capacity/orders/claim"


def request(path: str, key: str, body: dict[str, Any]) -> bytes:
    document = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(document)}\r\n\r\n"
    return head.encode() + document


@contextmanager
def answering(world: World) -> Iterator[tuple[int, threading.Event]]:
    """Serve the world over real connections; the event is set when a claim was answered, to whomever."""
    answered = threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        answer = world.http.application(environ, start_response)
        if "claim" in environ["PATH_INFO"]:
            answered.set()
        return answer

    with serving(application) as url:
        yield int(url.rpartition(":")[2]), answered


def test_a_waiting_claim_takes_no_order_for_a_launcher_that_has_hung_up(world: World) -> None:
    placed = list[str]()
    with answering(world) as (port, answered), closing(socket.create_connection((LOOPBACK, port))) as connection:

        def hang_up() -> None:
            world.clock.while_waiting = lambda: None
            connection.close()
            placed.append(world.place()["id"])

        world.clock.while_waiting = hang_up
        connection.sendall(request("/v1/claims", LAUNCHER, next_of(wait_seconds=30)))
        assert answered.wait(MAX_SECONDS)

    assert world.order(placed[0]).state is State.QUEUED


def test_a_launcher_that_waits_gets_its_order(world: World) -> None:
    with answering(world) as (port, _), closing(socket.create_connection((LOOPBACK, port))) as connection:
        world.clock.while_waiting = lambda: world.place(idempotency_key="one")
        connection.sendall(request("/v1/claims", LAUNCHER, next_of(wait_seconds=30)))
        connection.settimeout(MAX_SECONDS)
        with connection.makefile("rb") as answer:
            body = answer.read().rpartition(b"\r\n\r\n")[2]

    assert json.loads(body)["claimed"]["epoch"] == 1


def test_a_worker_of_the_contract_that_has_hung_up_gets_no_order(world: World, meanwhile: Meanwhile) -> None:
    order_id, (_, key) = world.place(CAPACITY)["id"], world.admit(AccountType.LAUNCHER)
    with answering(world) as (port, answered), closing(socket.create_connection((LOOPBACK, port))) as connection:
        meanwhile(world.ports.keys, "find", connection.close)
        connection.sendall(request(CLAIM, key, {}))
        assert answered.wait(MAX_SECONDS)

    assert world.order(order_id).state is State.QUEUED


ENDS: Final[dict[str, tuple[Callable[[socket.socket], Any], bool]]] = {
    "waits": (lambda _peer: None, True),
    "sent the next request already": (lambda peer: peer.sendall(b"GET"), True),
    "closed": (lambda peer: peer.close(), False),
    "will send no more": (lambda peer: peer.shutdown(socket.SHUT_WR), False),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", SOCKETS)
def test_a_connection_says_whether_its_caller_is_there(name: str, end: str) -> None:
    ours, peer = socket.socketpair()
    do, expected = ENDS[end]
    with ours, peer:
        do(peer)
        assert presence(connection_of({name: ours}))() is expected


def test_a_caller_whose_connection_cannot_be_checked_counts_as_connected() -> None:
    ours, peer = socket.socketpair()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(ours, server_side=True, do_handshake_on_connect=False)

    with tls, peer:
        assert presence(tls)()
    assert presence(connection_of({}))()
