"""Sends requests that follow each API's OpenAPI document, and such that do not, and counts what comes back.

python -m tests.security.fuzz [--examples N] [--heads N] [--seed N]
"""

import argparse
import random
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from emulators.ports import free_port
from emulators.processes import LOOPBACK, await_ready, start, stop
from functions.apis import APIS, EVERYTHING
from functions.apis.v1 import HEALTH
from functions.http.routing import Route
from tests.functions.conftest import served
from tests.functions.junk import Untouched, known, requests
from tests.functions.test_junk import answered, send
from tests.functions.test_openapi import cases, fitting, orders_in_each_state
from tests.functions.test_process import ENVIRONMENT, argv
from tests.functions.world import CLIENT, World
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS

LEFT_OUT: Final = {
    "ignored_auth": "the matrix of roles tests it for every route, with two dozen credentials",
    "positive_data_acceptance": "a schema does not say every rule, such as a name that is unique",
    "max_response_time": "a busy machine takes what it takes",
}
"""The checks of schemathesis that are not made, each with the reason."""
STRICT: Final = "negative_data_rejection"
"""This check is made of the routes that refuse what they do not know: those of `/v1` with a body. The contracts ignore
unknown fields, and every route ignores parameters that it does not take.
"""
API_OF: Final = {route: api.name for api in APIS for route in (*api.routes, *(HEALTH if api is APIS[0] else ()))}
FRAGMENTS: Final = [
    b"GET",
    b"POST",
    b"PATCH",
    b"\x00",
    b" ",
    b"  ",
    b"\t",
    b"\r\n",
    b"\n",
    b"\r",
    b":",
    b"/",
    b"/v1/orders",
    b"/v1/health",
    b"/k/key/jobs",
    b"/%0a",
    b"/%zz",
    b"/\xff\xfe",
    b"?after=%00&limit=9",
    b"#part",
    b"*",
    b"http://[::1",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Host: x",
    b"Host: ",
    b"Host: [",
    b"Host: a..b",
    b"Host: \xe9",
    b"Origin: null",
    b"Authorization: Bearer " + CLIENT.encode(),
    b"Authorization: Bearer \xff",
    b"Authorization: ,",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity",
    b"Content-Type: ;;=",
    b"Content-Encoding: gzip",
    b"Expect: 100-continue",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAAQAAP__",
    b"SCRIPT_NAME: /x",
    b"X-Forwarded-Proto: https",
    b"X-Cloud-Trace-Context: /",
    b"traceparent: 00-",
    b"Range: bytes=0-,-",
    b"Idempotency-Key: " + b"k" * 300,
    b"X: " + b"x" * 9_000,
    b"X: x\r\n" * 120,
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"{}",
]
"""What malformed heads are put together from."""


@dataclass
class Counts:
    """How often each API answered with each class of statuses, and how many answers were checked in full."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)

    def note(self, api: str, status: int) -> None:
        self.statuses[api, f"{status // 100}xx"] += 1

    def lines(self) -> Iterator[str]:
        for api in sorted({api for api, _ in self.statuses}):
            of_api = {of: count for (name, of), count in sorted(self.statuses.items()) if name == api}
            classes = ", ".join(f"{count} x {of}" for of, count in of_api.items())
            yield f"{api}: {sum(of_api.values())} requests: {classes}"
        if self.checks:
            yield f"{self.checks.total()} checks of {len(self.checks)} kinds: {', '.join(sorted(self.checks))}"
        failed = sum(count for (_, of), count in self.statuses.items() if of == "5xx")
        yield f"{self.statuses.total()} requests, {failed} x 5xx"


def checks(route: Route) -> dict[str, Any]:
    """Return the checks to make of a route, by their names."""
    load_all_checks()
    strict = API_OF[route] == APIS[0].name and route.signature.body is not None
    left_out = {*LEFT_OUT, *(() if strict else (STRICT,))}
    return {name: CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in left_out}


def send_documented(world: World, route: Route, examples: int, counts: Counts, number: int = 0) -> None:
    """Send requests that follow the document, or break it in one place. Raises schemathesis's failures."""
    made, orders = checks(route), Untouched(lambda: orders_in_each_state(world))

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def answers(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
        order_id = None
        if "{order_id}" in route.path:
            order_id = data.draw(st.sampled_from([None, *orders.get()]))
        case = data.draw(cases(route, mode))
        if order_id is not None:
            case.path_parameters = {"order_id": order_id}
        key = fitting(route, world, order_id)
        response = case.call(app=world.http.application, headers={"Authorization": f"Bearer {key}"})
        orders.note(route.method, response.status_code)
        counts.note(API_OF[route], response.status_code)
        case.validate_response(response, checks=list(made.values()))
        counts.checks.update(made.keys())

    answers()


def send_malformed(world: World, route: Route, examples: int, counts: Counts, number: int = 0) -> None:
    """Send bodies, queries, ids and headers that are wrong in every way. Raises AssertionError after a 5xx."""
    there = Untouched(lambda: known(world, route))

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def answers(data: st.DataObject) -> None:
        response = send(world, data.draw(requests(route, there.get())), there)
        counts.note(API_OF[route], response.status_code)
        answered(response, route)

    answers()


def send_heads(port: int, number: int, counts: Counts, chance: random.Random) -> None:
    """Send malformed heads to a server, each on a connection of its own, and count its answers. 0: it gave none."""
    for _ in range(number):
        fragments = chance.choices(FRAGMENTS, k=chance.randint(1, 12))
        joints = chance.choices([b"\r\n", b"\r\n", b" ", b"", b"\n"], k=len(fragments))
        sent = b"".join(fragment + joint for fragment, joint in zip(fragments, joints, strict=True))
        if chance.random() < 0.7:
            sent = b"POST /v1/orders HTTP/1.1\r\n" + sent
        with socket.create_connection((LOOPBACK, port), timeout=ANSWER_SECONDS) as connection:
            received = b""
            with suppress(ConnectionError):
                connection.sendall(sent + b"\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as answer:
                    received = answer.read()
        line = received.split(b"\r\n", 1)[0].split()
        counts.note("heads", int(line[1]) if len(line) > 1 and line[1].isdigit() else 0)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Run our server in a process; yield its port."""
    port = free_port()
    server = start("the functions", argv("functions.server", port), folder / "functions.log", ENVIRONMENT)
    try:
        await_ready(server, lambda: healthy(port))
        yield port
    finally:
        stop(server)


def healthy(port: int) -> bool:
    try:
        answer = plain_http.get(f"http://{LOOPBACK}:{port}/v1/health", timeout=ANSWER_SECONDS)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz every API, and count.")
    parser.add_argument("--examples", type=int, default=200, help="requests of either kind for each route")
    parser.add_argument("--heads", type=int, default=5000, help="malformed heads, over real connections")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    counts = Counts()
    with pytest.MonkeyPatch.context() as patch, served(patch, "everything") as world:
        structlog.configure(processors=[_drop])
        for route in EVERYTHING:
            send_documented(world, route, arguments.examples, counts, arguments.seed)
            send_malformed(world, route, arguments.examples, counts, arguments.seed)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as port:
        send_heads(port, arguments.heads, counts, random.Random(arguments.seed))
        if not healthy(port):
            raise SystemExit("The server answers no more.")
    sys.stdout.write("\n".join(counts.lines()) + "\n")
    if any(of == "5xx" for _, of in counts.statuses):
        raise SystemExit(1)


def _drop(*_: object) -> dict[str, Any]:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
