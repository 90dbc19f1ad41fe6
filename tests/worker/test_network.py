"""The worker's way to the network: the loopback gateway, and what is read from a source."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from werkzeug import Request, Response

from shared.guest.config import Sources
from tests.certificates import serving_tls
from tests.worker.answers import Answers
from worker.arke.documents import UnreadableDocument
from worker.arke.source import ArkeSource, EntityUnavailable, Limits, Unanswered
from worker.network import Client, client

GATEWAY = "127.0.0.2"
CID = "bafkreifiuyshp7kiyg3cd2khku3pd3p7jffksuksusqk3pbpwxp5vknm4y"


@contextmanager
def serving(host: str, answers: dict[str, Response]) -> Iterator[tuple[int, list[Request]]]:
    """A server that answers by path, and the requests that it was sent."""
    received: list[Request] = []

    def answer(request: Request) -> Response:
        received.append(request)
        return answers.get(request.path, Response(status=404))

    with serving_tls(None, answer, host) as port:
        yield port, received


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3"])
def test_a_loopback_address_is_reached_at_the_gateway_under_its_own_name(host: str) -> None:
    path = "/a%2Fkey?X-Amz-Signature=a%2Bb&x=%7E"
    with serving(GATEWAY, {"/a/key": Response("here")}) as (port, received), client(GATEWAY) as http:
        answer = http.get(f"http://{host}:{port}{path}")

    assert answer.text == "here"
    assert received[0].headers["Host"] == f"{host}:{port}"
    assert received[0].environ["RAW_URI"] == path


@pytest.mark.parametrize("host", ["example.invalid", "127.example.invalid"])
def test_any_other_address_is_reached_as_it_is(host: str) -> None:
    with serving(GATEWAY, {"/": Response("gateway")}) as (port, received), client("10.255.255.1") as http:
        transport = http._transport
        request = http.build_request("GET", f"http://{host}/")
        with pytest.raises(httpx.ConnectError, match=r"(?i)name|resolution|known"):
            transport.handle_request(request)

    assert port
    assert received == []


def test_without_a_gateway_loopback_is_the_machine_s_own() -> None:
    with serving("127.0.0.1", {"/": Response("own")}) as (port, _), client(None) as http:
        assert http.get(f"http://127.0.0.1:{port}/").text == "own"


def test_the_environment_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving("127.0.0.1", {"/": Response("direct")}) as (port, _), client(None) as http:
        assert http.get(f"http://127.0.0.1:{port}/").text == "direct"


def test_an_invalid_id_never_enters_a_path() -> None:
    with serving("127.0.0.1", {}) as (port, received), client(None) as http:
        arke = ArkeSource(http, Sources(api=f"http://127.0.0.1:{port}", ipfs=f"http://127.0.0.1:{port}"))
        for cid in ("", "../entities/x", "a/b", "a?b", "a\n"):
            with pytest.raises(UnreadableDocument):
                arke.component(cid, bytes)

    assert received == []


def test_a_document_over_the_limit_is_not_read() -> None:
    large = {f"/ipfs/{CID}": Response(b"x" * 1001), "/ipfs/fits": Response(b"x" * 1000)}
    with serving("127.0.0.1", large) as (port, _), client(None) as http:
        arke = ArkeSource(http, Sources(ipfs=f"http://127.0.0.1:{port}"), Limits(document_bytes=1000))

        assert len(arke.component("fits", bytes)) == 1000
        with pytest.raises(UnreadableDocument, match="larger"):
            arke.component(CID, bytes)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("status", "tries", "retryable"), [(404, 1, False), (403, 1, False), (408, 5, True), (429, 5, True), (502, 5, True)]
)
def test_an_entity_is_requested_again_only_if_that_may_help(status: int, tries: int, retryable: bool) -> None:
    with serving("127.0.0.1", {"/entities/A1": Response(status=status)}) as (port, received), client(None) as http:
        arke = ArkeSource(http, Sources(api=f"http://127.0.0.1:{port}"))

        with pytest.raises(EntityUnavailable, match=f"^Failed to fetch manifest: {status} ") as failure:
            arke.entity("A1")

    assert (len(received), failure.value.retryable) == (tries, retryable)


def test_a_redirect_of_the_gateway_is_followed_to_the_component() -> None:
    moved = {"/ipfs/cid": Response(status=301, headers={"Location": "/there"}), "/there": Response(b"content")}
    with serving("127.0.0.1", moved) as (port, _), client(None) as http:
        assert ArkeSource(http, Sources(ipfs=f"http://127.0.0.1:{port}")).component("cid", bytes) == b"content"


def test_a_redirect_to_another_origin_is_not_followed() -> None:
    with serving("127.0.0.1", {"/ipfs/cid": Response(b"content")}) as (other, received):
        location = f"http://127.0.0.1:{other}/ipfs/cid"
        moved = {"/ipfs/cid": Response(status=302, headers={"Location": location})}
        with serving("127.0.0.1", moved) as (port, _), client(None) as http:
            arke = ArkeSource(http, Sources(ipfs=f"http://127.0.0.1:{port}"))
            with pytest.raises(UnreadableDocument, match="another origin"):
                arke.component("cid", bytes)

    assert received == []


def test_no_compressed_answer_is_asked_for_and_none_is_read() -> None:
    packed = Response(gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"})
    with serving("127.0.0.1", {"/ipfs/cid": packed}) as (port, received), client(None) as http:
        arke = ArkeSource(http, Sources(ipfs=f"http://127.0.0.1:{port}"))
        with pytest.raises(UnreadableDocument, match="compressed"):
            arke.component("cid", bytes)

    assert received[0].headers["Accept-Encoding"] == "identity"


def test_the_documents_of_an_entity_have_one_limit_together() -> None:
    with serving("127.0.0.1", {"/ipfs/cid": Response(b"x" * 600)}) as (port, _), client(None) as http:
        arke = ArkeSource(http, Sources(ipfs=f"http://127.0.0.1:{port}"), Limits(entity_bytes=1000))

        assert len(arke.component("cid", bytes)) == 600
        with pytest.raises(UnreadableDocument, match="larger than 400 bytes"):
            arke.component("cid", bytes)


def test_a_source_that_sends_a_byte_a_second_is_given_up_in_time() -> None:
    now = [0.0]
    asked: list[str] = []

    def drip(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, content=dripping(now))

    http = Client(Answers(drip))
    arke = ArkeSource(http, Sources(), Limits(document_seconds=60, entity_seconds=100), clock=lambda: now[0])

    with pytest.raises(EntityUnavailable, match="took too long") as failure:
        arke.entity("A1")
    assert (now[0], failure.value.answered, failure.value.retryable) == (61, False, True)
    for _ in range(2):  # the second one has no time left
        with pytest.raises(Unanswered):
            arke.component("cid", bytes)
    assert (now[0], len(asked)) == (101, 2)


def dripping(now: list[float]) -> Iterator[bytes]:
    while True:
        now[0] += 1
        yield b" "


def test_the_worker_keeps_no_cookie() -> None:
    sets_one = Response("here", headers={"Set-Cookie": "a=b"})
    with serving("127.0.0.1", {"/": sets_one}) as (port, received), client(None) as http:
        for _ in range(2):
            http.get(f"http://127.0.0.1:{port}/")

    assert "Cookie" not in received[1].headers


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://{host}/ipfs/cid", "/ipfs/cid"),
        ("http://{host}", "/"),
        ("http://{host}/v1.2/a/../ipfs/c%20d?key=1&empty#part", "/v1.2/ipfs/c%20d?key=1&empty"),
        ("http://{host}/a b/é", "/a%20b/%C3%A9"),
    ],
)
def test_a_request_asks_for_the_url_s_path_as_httpx_would(url: str, asked: str) -> None:
    with serving("127.0.0.1", {}) as (port, received), client(None) as http:
        for answer in (
            http.fetch(url.format(host=f"127.0.0.1:{port}")),
            http.get(url.format(host=f"127.0.0.1:{port}")),
        ):
            answer.close()

    assert [request.environ["RAW_URI"] for request in received] == [asked, asked]


def test_a_short_request_reaches_loopback_at_the_gateway_too() -> None:
    with serving(GATEWAY, {"/ipfs/cid": Response("here")}) as (port, received), client(GATEWAY) as http:
        assert http.fetch(f"http://localhost:{port}/ipfs/cid").read() == b"here"

    assert received[0].headers["Host"] == f"localhost:{port}"
