"""What a worker fetches: from its configured sources only, wherever these redirect to and whatever their names mean."""

import ast
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpcore
import httpx
import pytest
from werkzeug import Request, Response

from shared.domain.spec import ExportOptions, ExportSpec, TaskSpec
from shared.guest.config import Sources
from shared.http_client import open_client
from shared.public_address import is_public
from tests.certificates import serving_tls
from tests.worker.control_plane import serving as a_control_plane
from tools.guards import ROOT
from worker.logs import open_log
from worker.network import client
from worker.programs import Job, ProgramFailed, Result
from worker.programs.mods_export import export
from worker.runtime import Worker

PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
SECRET: Final = "AKIA-OF-THE-HOST"
METADATA: Final = "/latest/meta-data/iam/security-credentials/role"
MANIFEST: Final = {
    "pi": PI,
    "ver": 1,
    "ts": "2026-01-01T00:00:00Z",
    "manifest_cid": "manifest",
    "components": {"pinax.json": "pinax"},
}
PRIVATE: Final = [
    "0.0.0.0",  # noqa: S104 (nothing is bound)
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe",
    "fc00::1",
    "fe80::1",
    "fe80::1%2",
    "ff02::1",
]
NAMED: Final = "source.example"


@contextmanager
def recording(answer: Callable[[Request], Response]) -> Iterator[tuple[int, list[Request]]]:
    """A server, and the requests that it was sent."""
    received: list[Request] = []

    def answered(request: Request) -> Response:
        received.append(request)
        return answer(request)

    with serving_tls(None, answered) as port:
        yield port, received


def the_host(_request: Request) -> Response:
    """Answer as a service of the host, with what an export would show if it read it."""
    return Response(json.dumps({**MANIFEST, "title": SECRET, "description": SECRET}))


def exported(source: str, folder: Path) -> Result:
    with client(None) as http:
        return export(Job(ExportSpec(pi=PI, options=ExportOptions()), Sources(api=source, ipfs=source), http, folder))


def moved_to(location: str) -> Response:
    return Response(status=302, headers={"Location": location})


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}",
        "http://localhost:{port}",
        "http://[::ffff:127.0.0.1]:{port}",
        "http://2130706433:{port}",
        "//127.0.0.1:{port}",
        "http://user@127.0.0.1:{port}",
        "https://127.0.0.1:{port}",
        "http://169.254.169.254",
        "http://10.0.2.2:{port}",
    ],
)
def test_a_component_that_redirects_to_the_host_is_not_read(tmp_path: Path, location: str) -> None:
    with recording(the_host) as (host, received):
        there = f"{location.format(port=host)}{METADATA}"

        def source(request: Request) -> Response:
            return Response(json.dumps(MANIFEST)) if request.path.startswith("/entities") else moved_to(there)

        with recording(source) as (port, _):
            result = exported(f"http://127.0.0.1:{port}", tmp_path)

    assert received == []
    assert SECRET not in result.file.read_text()
    assert result.metrics["entities_incomplete"] == 1


def test_an_entity_that_redirects_to_the_host_counts_as_failed(tmp_path: Path) -> None:
    with recording(the_host) as (host, received):
        there = f"http://127.0.0.1:{host}{METADATA}"
        with recording(lambda _: moved_to(there)) as (port, _), pytest.raises(ProgramFailed, match="another origin"):
            exported(f"http://127.0.0.1:{port}", tmp_path)

    assert received == []


def test_a_source_that_redirects_without_end_is_asked_four_times(tmp_path: Path) -> None:
    with (
        recording(lambda request: moved_to(f"{request.path}x")) as (port, received),
        pytest.raises(ProgramFailed, match="more than 3 times"),
    ):
        exported(f"http://127.0.0.1:{port}", tmp_path)

    assert len(received) == 4


def lead_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Have every name lead to these addresses; return those that are connected to. No connection is made."""
    tried: list[str] = []

    def looked_up(_host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    def connect(_self: httpcore.SyncBackend, host: str, *_: Any, **__: Any) -> httpcore.NetworkStream:
        tried.append(host)
        raise httpcore.ConnectError("nothing listens there")

    monkeypatch.setattr("worker.public_addresses.socket.getaddrinfo", looked_up)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    return tried


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_source_s_name_that_leads_to_a_private_address_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, scheme: str
) -> None:
    tried = lead_to(monkeypatch, address)

    with pytest.raises(ProgramFailed, match="not public"):
        exported(f"{scheme}://{NAMED}", tmp_path)

    assert tried == []


def test_of_a_name_s_addresses_only_the_public_ones_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = lead_to(monkeypatch, "10.1.2.3", "93.184.215.14", "127.0.0.1", "2606:2800:21f:cb07::1")

    with client(None) as http, pytest.raises(httpx.ConnectError):
        http.fetch(f"http://{NAMED}/ipfs/cid")

    assert tried == ["93.184.215.14", "2606:2800:21f:cb07::1"]


def test_a_source_of_a_private_network_is_read_if_its_operator_says_so_and_never_the_machine_s_own_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = lead_to(monkeypatch, "127.0.0.1", "169.254.169.254", "10.1.2.3", "fe80::1", "224.0.0.1")

    with client(None, private=True) as http, pytest.raises(httpx.ConnectError):
        http.fetch(f"http://{NAMED}/ipfs/cid")

    assert tried == ["10.1.2.3"]


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:2800:21f:cb07::1", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_a_public_address_counts_as_one(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_report_and_an_upload_go_to_the_control_plane_wherever_its_operator_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = lead_to(monkeypatch, "10.1.2.3")

    with client(None) as http, pytest.raises(httpx.ConnectError):
        http.post(f"http://{NAMED}/v1/callbacks/order")

    assert tried == [NAMED]


@contextmanager
def a_proxy() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A proxy that carries nothing, and what it was asked for."""
    asked: list[tuple[str, str]] = []

    def refuse(request: Request) -> Response:
        asked.append((request.method, request.environ["RAW_URI"]))
        return Response("the proxy's", status=403)

    with serving_tls(None, refuse) as port:
        yield f"http://127.0.0.1:{port}", asked


def test_behind_a_proxy_every_name_is_the_proxy_s_to_look_up_and_loopback_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[str] = []
    look_up = socket.getaddrinfo

    def noted(host: str, *arguments: Any, **options: Any) -> Any:
        looked_up.append(host)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    with (
        a_proxy() as (proxy, asked),
        recording(the_host) as (host, received),
        client(None, proxy=proxy) as http,
    ):
        statuses = [
            http.fetch(f"http://{NAMED}/ipfs/cid").status_code,
            http.get(f"http://{NAMED}/v1/health?a=b").status_code,
            http.fetch("http://10.1.2.3/ipfs/cid").status_code,
        ]
        for ask in (http.fetch, http.get):
            with pytest.raises(httpx.ProxyError):
                ask(f"https://{NAMED}/ipfs/cid")
            for loopback in ("127.0.0.1", "localhost", "[::1]"):
                with pytest.raises(httpx.ConnectError):
                    ask(f"http://{loopback}:{host}{METADATA}")

    assert set(looked_up) == {"127.0.0.1"}  # the proxy's own
    assert statuses == [403, 403, 403]
    assert asked == [
        ("GET", f"http://{NAMED}/ipfs/cid"),
        ("GET", f"http://{NAMED}/v1/health?a=b"),
        ("GET", "http://10.1.2.3/ipfs/cid"),
        ("CONNECT", f"{NAMED}:443"),
        ("CONNECT", f"{NAMED}:443"),
    ]
    assert received == []


def test_behind_a_proxy_the_gateway_is_for_loopback_only() -> None:
    with (
        a_proxy() as (proxy, asked),
        recording(the_host) as (host, received),
        client("127.0.0.1", proxy=proxy) as http,
    ):
        assert http.fetch(f"http://localhost:{host}/ipfs/cid").status_code == 200
        assert http.fetch(f"http://{NAMED}/ipfs/cid").status_code == 403

    assert [request.path for request in received] == ["/ipfs/cid"]
    assert asked == [("GET", f"http://{NAMED}/ipfs/cid")]


def test_a_task_s_command_is_told_of_the_proxy(tmp_path: Path) -> None:
    with a_control_plane() as plane:
        config = plane.config(TaskSpec(command=("env",))).model_copy(
            update={"proxy": "http://10.0.2.2:3128", "loopback_gateway": "127.0.0.1"}
        )
        with client(config.loopback_gateway, proxy=config.proxy) as http:
            Worker(config, http, tmp_path, open_log(config)).run()

    printed = set(plane.uploads[0].body.decode().splitlines())
    assert printed >= {
        f"{name}={value}"
        for upper, value in {
            "HTTP_PROXY": "http://10.0.2.2:3128",
            "HTTPS_PROXY": "http://10.0.2.2:3128",
            "NO_PROXY": "localhost,127.0.0.1,::1,127.0.0.1",
        }.items()
        for name in (upper, upper.lower())
    }


def test_no_client_of_ours_follows_a_redirect_by_itself() -> None:
    with recording(the_host) as (host, received):
        moved = moved_to(f"http://127.0.0.1:{host}{METADATA}")
        with (
            recording(lambda _: moved) as (port, _),
            open_client(f"http://127.0.0.1:{port}") as ours,
            client(None) as workers,
        ):
            assert {ours.get("/").status_code, workers.get(f"http://127.0.0.1:{port}").status_code} == {302}

    assert received == []
    parts = ("cli", "functions", "launcher", "shared", "worker")
    sources = [file for part in parts for file in (ROOT / part).rglob("*.py")]
    assert [str(file) for file in sources if _may_follow(ast.parse(file.read_text()))] == []


def _may_follow(module: ast.Module) -> bool:
    """Return whether the module says of any request or client that it follows redirects."""
    return any(isinstance(node, ast.keyword) and node.arg == "follow_redirects" for node in ast.walk(module))
