"""The functions behind the proxy that loses, delays, repeats and refuses: the same request again is the same order."""

from collections.abc import Iterable, Iterator
from threading import Event
from typing import TYPE_CHECKING

import pytest
from werkzeug import Request, Response

from emulators.serving import serving
from shared.client import ControlPlane
from shared.client_errors import NoAnswer, Refused, Unreachable
from shared.domain.order import State
from shared.wire.launchers import ClaimById, ClaimNext
from shared.wire.orders import OrderView
from tests.chaos.faults import Kind
from tests.chaos.http_proxy import family, proxying
from tests.chaos.scripted import Scripted
from tests.factories import TASK
from tests.functions.world import CLIENT, LAUNCHER, World

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LANES = ("any/task",)


class Upstream:
    """Counts what reaches the functions."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self.requests: list[str] = []

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        return self._app(environ, start_response)


@pytest.fixture
def script() -> Scripted:
    return Scripted()


@pytest.fixture
def upstream(world: World) -> Upstream:
    return Upstream(world.http.application)


@pytest.fixture
def url(upstream: Upstream, script: Scripted) -> Iterator[str]:
    with serving(upstream) as functions, proxying(functions, script) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[ControlPlane]:
    with ControlPlane(url, CLIENT) as client:
        yield client


@pytest.fixture
def launcher(url: str) -> Iterator[ControlPlane]:
    with ControlPlane(url, LAUNCHER) as launcher:
        yield launcher


def stored(client: ControlPlane) -> list[OrderView]:
    return list(client.list_orders().orders)


def test_without_faults_the_proxy_changes_nothing(client: ControlPlane, upstream: Upstream) -> None:
    placed = client.create_order(TASK, "one")

    assert client.get_order(placed.id).id == placed.id
    with pytest.raises(Refused, match="no such order"):
        client.get_order("none")
    assert upstream.requests == ["POST /v1/orders", f"GET /v1/orders/{placed.id}", "GET /v1/orders/none"]


def test_a_create_whose_answer_was_dropped_is_the_same_order_when_repeated_with_its_key(
    client: ControlPlane, script: Scripted, upstream: Upstream
) -> None:
    script.next("order", Kind.DROP)

    with pytest.raises(NoAnswer):
        client.create_order(TASK, "one")
    (first,) = stored(client)
    assert client.create_order(TASK, "one").id == first.id
    assert [order.id for order in stored(client)] == [first.id]
    assert upstream.requests.count("POST /v1/orders") == 2


def test_a_duplicated_create_is_one_order(client: ControlPlane, script: Scripted, upstream: Upstream) -> None:
    script.next("order", Kind.DUPLICATE)

    placed = client.create_order(TASK, "one")

    assert [order.id for order in stored(client)] == [placed.id]
    assert upstream.requests.count("POST /v1/orders") == 2


def test_a_refused_create_rings_no_bell(client: ControlPlane, script: Scripted, upstream: Upstream) -> None:
    script.next("order", Kind.REFUSE)

    with pytest.raises(Unreachable, match="503"):
        client.create_order(TASK, "one")
    assert upstream.requests == []


def test_a_delayed_answer_comes_all_the_same(client: ControlPlane, script: Scripted) -> None:
    script.next("order", Kind.DELAY, seconds=0.05)

    assert client.create_order(TASK, "one").state is State.QUEUED


def test_a_repeat_of_a_claim_whose_answer_was_dropped_gets_the_same_order(
    client: ControlPlane, launcher: ControlPlane, script: Scripted
) -> None:
    placed = [client.create_order(TASK, key).id for key in ("one", "two")]
    asked = ClaimNext(request_id="a-request", launcher="alpha", lanes=LANES)
    script.next("claim", Kind.DROP)

    with pytest.raises(NoAnswer):
        launcher.claim(asked)
    claimed = launcher.claim(asked).claimed

    assert claimed is not None
    assert claimed.order_id in placed
    assert sorted(order.state for order in stored(client)) == [State.CLAIMED, State.QUEUED]


def test_a_duplicated_claim_is_one_epoch(client: ControlPlane, launcher: ControlPlane, script: Scripted) -> None:
    placed = client.create_order(TASK, "one")
    script.next("claim", Kind.DUPLICATE)

    claimed = launcher.claim(
        ClaimById(request_id="a-request", launcher="alpha", order_id=placed.id, lanes=LANES)
    ).claimed

    assert claimed is not None
    assert claimed.epoch == 1


def test_functions_that_are_down_end_the_connection(script: Scripted) -> None:
    with serving(Response("here")) as functions:
        pass
    with proxying(functions, script) as address, ControlPlane(address, CLIENT) as client, pytest.raises(NoAnswer):
        client.create_order(TASK, "one")


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("POST /v1/orders", "order"),
        ("POST /v1/orders/an-id/cancel", "order"),
        ("GET /v1/orders/an-id", "read"),
        ("DELETE /v1/orders/an-id", "purge"),
        ("GET /v1/holds", "holds"),
        ("POST /v1/callbacks/an-id", "callback"),
        ("POST /v1/heartbeats", "heartbeat"),
        ("GET /", "other"),
        ("POST /v2/orders", "other"),
    ],
)
def test_requests_are_of_families(request_line: str, expected: str) -> None:
    method, path = request_line.split()
    assert family(Request.from_values(method=method, path=path)) == expected


def test_forwarded_requests_are_unchanged(script: Scripted) -> None:
    seen: list[Request] = []
    done = Event()

    @Request.application
    def echo(request: Request) -> Response:
        request.get_data()
        seen.append(request)
        done.set()
        return Response(request.get_data(), 201, {"X-Said": "yes"})

    with serving(echo) as upstream, proxying(upstream, script) as address, ControlPlane(address, "ly_k") as client:
        answer = client._http.post("/v1/a%2Fb?c=%20d", content=b"\x00\xff", headers={"X-Told": "so"})

    assert (answer.status_code, answer.content, answer.headers["x-said"]) == (201, b"\x00\xff", "yes")
    assert seen[0].environ["RAW_URI"] == "/v1/a%2Fb?c=%20d"
    assert (seen[0].headers["X-Told"], seen[0].headers["Authorization"]) == ("so", "Bearer ly_k")
