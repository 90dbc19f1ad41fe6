"""The functions as they are deployed, over real HTTP: in functions-framework's own process, and in our server."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

import functions
from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server, await_ready, start, stop
from emulators.services import is_healthy
from shared.client import ControlPlane
from shared.wire.launchers import ClaimNext
from tests.factories import EXPORT, TASK
from tests.functions.world import ANY_LANES, CLIENT, KEYS, LAUNCHER, SECRET, URL
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS, MAX_SECONDS, await_value

ROOT: Final = Path(functions.__path__[0]).parent
ENVIRONMENT: Final = {
    "PYTHONPATH": str(ROOT),
    "LAUNCHYARD_BACKEND": "memory",
    "LAUNCHYARD_BUCKET": "s3://outputs",
    "LAUNCHYARD_URL": URL,
    "LAUNCHYARD_S3_ENDPOINT": f"http://{LOOPBACK}:1",
    "LAUNCHYARD_S3_ACCESS_KEY_ID": "an-id",
    "LAUNCHYARD_S3_SECRET_ACCESS_KEY": "a-secret-access-key",
    "LAUNCHYARD_CALLBACK_SECRET": SECRET,
    "LAUNCHYARD_KEYS": json.dumps([{"digest": key.digest, "role": key.role, "account": key.account} for key in KEYS]),
    "THREADS": "64",
}


SERVERS: Final = ("functions_framework", "functions.server")


def argv(module: str, port: int) -> list[str]:
    framework = [sys.executable, "-m", module, "--source", str(ROOT / "functions" / "main.py")]
    return [*framework, "--target", "everything", "--host", LOOPBACK, "--port", str(port)]


@pytest.fixture(scope="module", params=SERVERS)
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[tuple[Server, int]]:
    port = free_port()
    log = tmp_path_factory.mktemp("functions") / "functions.log"
    server = start("the functions", argv(request.param, port), log, ENVIRONMENT)
    await_ready(server, lambda: is_healthy(port))
    yield server, port
    stop(server)


def test_an_order_is_placed_claimed_and_logged_over_real_http(served: tuple[Server, int]) -> None:
    server, port = served
    url = f"http://{LOOPBACK}:{port}"
    with ControlPlane(url, CLIENT) as client, ControlPlane(url, LAUNCHER) as launcher:
        placed = client.create_order(EXPORT, "one")
        claim = ClaimNext(request_id="a-request", launcher="alpha", lanes=tuple(ANY_LANES), wait_seconds=5)
        claimed = launcher.claim(claim).claimed

        assert claimed is not None
        assert claimed.order_id == placed.id
        assert client.get_order(placed.id).state == "claimed"
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert f"GET /v1/orders/{{order_id}} 200 {placed.id}" in [
        f"{line['message']} {line.get('order_id')}" for line in lines
    ]


def test_many_clients_at_once_are_served_by_one_app(served: tuple[Server, int]) -> None:
    _, port = served
    with ControlPlane(f"http://{LOOPBACK}:{port}", CLIENT) as client, ThreadPoolExecutor(8) as pool:
        placed = list(pool.map(lambda n: client.create_order(EXPORT, f"many-{n % 8}").id, range(32)))

    assert len(set(placed)) == 8


def test_a_body_sent_in_chunks_is_limited_too(served: tuple[Server, int]) -> None:
    _, port = served
    headers = {"Authorization": f"Bearer {CLIENT}", "Idempotency-Key": "chunks"}

    response = plain_http.post(
        f"http://{LOOPBACK}:{port}/v1/orders",
        content=(b" " * 4096 for _ in range(257)),
        headers=headers,
        timeout=ANSWER_SECONDS,
    )

    assert (response.status_code, response.headers["content-type"]) == (413, "application/problem+json")


@pytest.mark.parametrize("chunks", [b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhello"])
def test_chunks_that_are_none_are_malformed(served: tuple[Server, int], chunks: bytes) -> None:
    _, port = served
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: {LOOPBACK}\r\nAuthorization: Bearer {CLIENT}\r\n"
        "Idempotency-Key: chunks\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(head.encode() + chunks)
        connection.shutdown(socket.SHUT_WR)
        status = connection.makefile("rb").readline()

    assert status.split()[1] == b"400"


def test_a_header_that_is_sent_twice_is_seen_so(served: tuple[Server, int]) -> None:
    _, port = served
    headers = [("Authorization", f"Bearer {CLIENT}"), ("Idempotency-Key", "twice"), ("Idempotency-Key", "twice")]
    body = b'{"order": {"kind": "task", "command": ["true"]}}'

    response = plain_http.post(
        f"http://{LOOPBACK}:{port}/v1/orders", content=body, headers=headers, timeout=ANSWER_SECONDS
    )

    assert (response.status_code, "sent more than once" in response.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "host", "status"), [("/v1/orders/a%0Ab", LOOPBACK, b"404"), ("/v1/orders", ".", b"400")]
)
def test_a_request_that_the_framework_refuses_is_answered_in_our_form(
    served: tuple[Server, int], path: str, host: str, status: bytes
) -> None:
    _, port = served
    with socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = connection.makefile("rb").read()

    assert answer.split()[1] == status
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("module", SERVERS)
def test_bad_settings_are_all_reported_before_anything_is_served(tmp_path: Path, module: str) -> None:
    bad = {"LAUNCHYARD_BUCKET": "outputs", "LAUNCHYARD_CALLBACK_SECRET": "short", "LAUNCHYARD_KEYS": "nonsense"}

    ended = subprocess.run(
        argv(module, free_port()),
        env={**os.environ, **ENVIRONMENT, **bad},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ended.returncode == 2
    assert [line.split(":")[0].strip() for line in ended.stderr.splitlines()[1:]] == list(bad)
    assert "Traceback" not in ended.stderr


def test_a_launcher_that_has_hung_up_gets_no_order(served: tuple[Server, int]) -> None:
    """Under the server that functions are deployed with."""
    server, port = served
    body = {"by": "next", "request_id": "one-that-hangs-up", "launcher": "gone", "lanes": ["any/task"]}
    document = json.dumps(body | {"wait_seconds": 20})
    before = _claims_answered(server)
    with socket.create_connection((LOOPBACK, port)) as connection:
        head = f"POST /v1/claims HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {LAUNCHER}\r\n"
        connection.sendall(f"{head}Content-Length: {len(document)}\r\n\r\n{document}".encode())
    with ControlPlane(f"http://{LOOPBACK}:{port}", CLIENT) as client:
        order_id = client.create_order(TASK, "nobody-hears-of-it").id
        await_value(lambda: _claims_answered(server) > before, "the answer to the claim")
        assert client.get_order(order_id).state == "queued"


def _claims_answered(server: Server) -> int:
    return server.log.read_text().count("POST /v1/claims 200")


WAITING: Final = 20


@pytest.mark.parametrize("module", SERVERS)
def test_claims_that_wait_are_answered_when_the_process_is_told_to_end(tmp_path: Path, module: str) -> None:
    """Under gunicorn, which waits for its requests: all are answered before their wait is over, and it exits with 0.

    One more than may wait is refused.
    """
    port, log = free_port(), tmp_path / "functions.log"
    environment = {**os.environ, **ENVIRONMENT, "THREADS": "40", "LAUNCHYARD_MAX_WAITING": str(WAITING)}
    with log.open("wb") as output, ThreadPoolExecutor(WAITING + 1) as pool:
        process = subprocess.Popen(argv(module, port), env=environment, cwd=tmp_path, stdout=output, stderr=output)
        try:
            await_value(lambda: is_healthy(port), "the functions")
            claims = [pool.submit(_claim_of, port, number) for number in range(WAITING + 1)]
            await_value(
                lambda: any(claim.done() and claim.result()[0] == 429 for claim in claims),
                "the refusal of one: now all others wait",
            )

            process.send_signal(signal.SIGTERM)

            answers = [claim.result(MAX_SECONDS) for claim in claims]
            assert [answer for answer in answers if answer[0] == 200] == [(200, {"claimed": None})] * WAITING
            assert [status for status, _ in answers if status != 200] == [429]
            assert process.wait(MAX_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
    served = [json.loads(line) for line in log.read_text().splitlines() if "/v1/claims 200" in line]
    assert len(served) == WAITING
    assert max(line["duration_ms"] for line in served) < 30_000


def _claim_of(port: int, number: int) -> tuple[int, object]:
    body = {
        "by": "next",
        "request_id": f"a-claim-that-waits-{number}",
        "launcher": "alpha",
        "lanes": ["any/task"],
        "wait_seconds": 30,
    }
    headers = {"Authorization": f"Bearer {LAUNCHER}"}
    response = plain_http.post(f"http://{LOOPBACK}:{port}/v1/claims", json=body, headers=headers, timeout=MAX_SECONDS)
    return response.status_code, response.json()
