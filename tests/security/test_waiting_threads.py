"""Requests that wait leave an instance's threads to others, under the server that functions are deployed with."""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from emulators.services import is_healthy
from tests.functions.test_process import ENVIRONMENT, argv
from tests.functions.world import LAUNCHER
from tests.harness import plain_http
from tests.harness.waiting import MAX_SECONDS, await_value

THREADS: Final = 64
WAITING: Final = 38
"""Three fifths of the threads."""
ATTACKERS: Final = 70
HEADERS: Final = {"Authorization": f"Bearer {LAUNCHER}"}


@dataclass(frozen=True)
class Instance:
    url: str
    end: Callable[[], None]
    """Tell the process to end, which answers all that wait."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    port = free_port()
    environment = {**os.environ, **ENVIRONMENT, "THREADS": str(THREADS)}
    with (tmp_path / "functions.log").open("wb") as log:
        process = subprocess.Popen(
            argv("functions.server", port), env=environment, cwd=tmp_path, stdout=log, stderr=log
        )
        try:
            await_value(lambda: is_healthy(port), "the functions")
            yield Instance(f"http://{LOOPBACK}:{port}", process.terminate)
        finally:
            process.kill()
            process.wait()


def claims(url: str) -> Callable[[int], httpx.Response]:
    def claim(number: int) -> httpx.Response:
        body = {"by": "next", "request_id": f"an-attack-{number}", "launcher": "alpha", "lanes": ["any/task"]}
        return plain_http.post(
            f"{url}/v1/claims", json=body | {"wait_seconds": 30}, headers=HEADERS, timeout=MAX_SECONDS
        )

    return claim


def polls(url: str) -> Callable[[int], httpx.Response]:
    launcher = plain_http.post(f"{url}/launcher/register", json={}, headers=HEADERS, timeout=MAX_SECONDS).json()

    def poll(_: int) -> httpx.Response:
        return plain_http.get(f"{url}/launcher/jobs", params=launcher, headers=HEADERS, timeout=MAX_SECONDS)

    return poll


@pytest.mark.parametrize(("attack", "beyond"), [(claims, 429), (polls, 204)], ids=["claims", "polls"])
def test_one_key_that_waits_in_seventy_requests_keeps_nobody_from_an_instance(
    instance: Instance, attack: Callable[[str], Callable[[int], httpx.Response]], beyond: int
) -> None:
    ask = attack(instance.url)
    with ThreadPoolExecutor(ATTACKERS) as pool:
        asked: list[Future[httpx.Response]] = [pool.submit(ask, number) for number in range(ATTACKERS)]
        await_value(lambda: answered(asked) >= ATTACKERS - WAITING, "the answers to those that may not wait")

        at_once = [one.result().status_code for one in asked if one.done()]
        health = [plain_http.get(f"{instance.url}/v1/health", timeout=MAX_SECONDS).status_code for _ in range(20)]

        instance.end()
    assert health == [200] * 20
    assert at_once == [beyond] * (ATTACKERS - WAITING)


def answered(asked: list[Future[httpx.Response]]) -> int:
    return sum(one.done() for one in asked)
