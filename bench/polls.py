"""Measures claims that wait: `python -m bench.polls` prints how fast they get orders, and what 500 of them cost.

One instance serves over HTTP, on the emulators. A delivery counts from the commit of the order (its document's creation
time) to the moment its claim's answer is read. Beside it are two readers of the same emulator without our code: one
that queries every half second, and the client library's own listener.

The clients, the instance and the emulators share the machine's processors.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import psutil
from google.cloud.firestore import Client, FieldFilter, Query
from rich.console import Console
from rich.table import Table

from bench.claims import emulator
from bench.reads import Reads, read_counts
from emulators import services
from emulators.environment import KEY_OF, make_environment
from emulators.google import start_pubsub
from emulators.ports import free_port
from emulators.processes import Server, StartFailed, stop
from emulators.seeding import seed
from emulators.settings import PROJECT, BackendChoice, StackSettings
from functions.adapters import order_document
from functions.adapters.firestore import ORDERS
from functions.domain.access import Role
from functions.domain.order import place
from functions.engine.lane_reader import READ_AT_ONCE
from shared.domain.lanes import of_sessions
from shared.domain.order import State
from shared.domain.spec import SessionSpec
from shared.signals import exit_on_signals

COUNTED: Final = Path(__file__).parent / "counted_functions.py"
COUNT: Final = 200
WRITERS: Final = 8
WARM_UPS: Final = 2
"""Rounds that do not count: the emulator compiles its code while it runs."""
MANY: Final = 500
PACES: Final = {"10 a second": 0.1, f"as fast as {WRITERS} clients create them": 0.0}
QUERIES: Final = 50
MIB: Final = 1 << 20
SETTLE_SECONDS: Final = 4.0
"""The time that claims have to begin to wait."""
READER_SECONDS: Final = 0.5
SPEC: Final = SessionSpec(session_name="bench", prompt="Wait.")


@dataclass(frozen=True, slots=True)
class Run:
    """`seconds` are from commit to delivery, one for each order."""

    seconds: list[float]
    reads: Reads

    def row(self, pace: str, way: str) -> tuple[str, ...]:
        cuts = statistics.quantiles(self.seconds, n=100)
        times = (f"{1000 * cuts[at - 1]:.0f}" for at in (50, 95, 99))
        orders = len(self.seconds)
        return (pace, way, *times, f"{self.reads.asked / orders:.2f}", f"{self.reads.streamed / orders:.2f}")


def main() -> None:
    exit_on_signals()
    with emulator(), instance() as (url, environment, server, reads):
        for _ in range(WARM_UPS):
            deliver(url, environment, reads, COUNT, 0)
        table = Table("orders come", "way", "p50 ms", "p95 ms", "p99 ms", "reads asked", "streamed")
        table.title = f"{COUNT} claims wait, {COUNT} orders come; reads are for each order"
        for name, pace in PACES.items():
            table.add_row(*deliver(url, environment, reads, COUNT, pace).row(name, "waiting claims"))
            table.add_row(*watch(pace, by_snapshots).row(name, "the library's listener"))
            table.add_row(*watch(pace, by_queries).row(name, f"a query each {READER_SECONDS:g} s"))
            table.add_section()
        Console().print(table)
        Console().print(load(url, environment, server, MANY))


@contextmanager
def instance() -> Iterator[tuple[str, Mapping[str, str], Server, Path]]:
    """Start the functions. Yield their address, environment and process, and the file that counts their reads."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as servers:
        port, pubsub_port = free_port(), free_port()
        servers.callback(stop, start_pubsub(pubsub_port, Path(home)))
        firestore_port = int(os.environ["FIRESTORE_EMULATOR_HOST"].rpartition(":")[2])
        settings = StackSettings(
            port=port, firestore_port=firestore_port, pubsub_port=pubsub_port, backend=BackendChoice.GOOGLE
        )
        reads = Path(home) / "reads"
        environment = make_environment(settings) | {"READS": str(reads)}
        seed(environment)
        server = services.start_functions(port, Path(home), environment, COUNTED)
        servers.callback(stop, server)
        yield environment["LAUNCHYARD_URL"], environment, server, reads


def deliver(url: str, environment: Mapping[str, str], counts: Path, count: int, pace: float) -> Run:
    """Have `count` claims wait, create as many orders, one each `pace` seconds, and time each delivery."""

    async def run() -> tuple[list[tuple[str, float]], Reads]:
        async with connected(url) as http:
            waiting = [asyncio.create_task(claim(http, environment)) for _ in range(count)]
            await asyncio.sleep(SETTLE_SECONDS)
            before = read_counts(counts)
            creating, writers = [], asyncio.Semaphore(WRITERS)
            for _ in range(count):
                creating.append(asyncio.create_task(create(http, environment, writers)))
                await asyncio.sleep(pace)
            await asyncio.gather(*creating)
            return await asyncio.gather(*waiting), read_counts(counts).since(before)

    delivered, reads = asyncio.run(run())
    if len({order_id for order_id, _ in delivered}) != count:
        sys.exit("An order was delivered twice, or not at all.")
    with closing(Client(project=PROJECT)) as client:
        orders = client.collection(ORDERS)
        found = client.get_all([orders.document(order_id) for order_id, _ in delivered])
        committed = {document.id: document.create_time.timestamp() for document in found}
    return Run([at - committed[order_id] for order_id, at in delivered], reads)


def load(url: str, environment: Mapping[str, str], server: Server, count: int) -> str:
    """Have `count` claims wait, and say what that costs the instance."""

    async def run() -> tuple[list[float], str]:
        async with connected(url) as http:
            waiting = [asyncio.create_task(claim(http, environment)) for _ in range(count)]
            await asyncio.sleep(SETTLE_SECONDS)
            seconds = []
            for _ in range(QUERIES):
                began = time.perf_counter()
                (await http.get("/v1/health")).raise_for_status()
                seconds.append(time.perf_counter() - began)
            (process,) = psutil.Process(server.pid).children()
            cost = f"{process.memory_info().rss / MIB:.0f} MiB, {process.num_threads()} threads"
            answered = sum(task.done() for task in waiting)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return seconds, f"{count - answered} claims wait: {cost}"

    seconds, cost = asyncio.run(run())
    times = f"p50 {1000 * statistics.median(seconds):.1f} ms, max {1000 * max(seconds):.1f} ms"
    return f"{cost}; GET /v1/health meanwhile: {times}"


async def claim(http: httpx.AsyncClient, environment: Mapping[str, str]) -> tuple[str, float]:
    """Return the id of the order that this claim got, or an empty text, and when it was answered."""
    lanes = list(of_sessions(()))
    body = {"by": "next", "request_id": str(uuid4()), "launcher": "bench", "lanes": lanes, "wait_seconds": 30}
    response = await http.post("/v1/claims", json=body, headers=bearer(environment, Role.LAUNCHER))
    answered = time.time()
    claimed = response.raise_for_status().json()["claimed"]
    return claimed["order_id"] if claimed else "", answered


async def create(http: httpx.AsyncClient, environment: Mapping[str, str], writers: asyncio.Semaphore) -> None:
    headers = bearer(environment, Role.CLIENT) | {"Idempotency-Key": str(uuid4())}
    async with writers:
        response = await http.post("/v1/orders", json={"order": SPEC.model_dump(mode="json")}, headers=headers)
    response.raise_for_status()


def connected(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, keepalive_expiry=1)  # the server closes an idle connection after 2 s
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False)


def bearer(environment: Mapping[str, str], role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {environment[KEY_OF[role]]}"}


Seen = Callable[[str], None]


def watch(pace: float, way: Callable[[Client, Seen], AbstractContextManager[Callable[[], Reads]]]) -> Run:
    """Create COUNT orders, and time when a reader without our code sees each. What was seen is taken off the queue."""
    client = Client(project=f"bench-{uuid4().hex[:12]}")
    orders, seen_at, all_seen = client.collection(ORDERS), dict[str, float](), threading.Event()
    with closing(client), ThreadPoolExecutor(WRITERS) as writers, ThreadPoolExecutor(WRITERS) as takers:

        def seen(order_id: str) -> None:
            if order_id not in seen_at:
                seen_at[order_id] = time.time()
                takers.submit(orders.document(order_id).update, {"state": State.CLAIMED})
            if len(seen_at) == COUNT:
                all_seen.set()

        def write() -> None:
            order = place(str(uuid4()), "bench", SPEC, datetime.now(UTC))
            orders.document(order.id).create(order_document.encode(order))

        with way(client, seen) as reads:
            for _ in range(COUNT):
                writers.submit(write)
                time.sleep(pace)
            all_seen.wait()
            count = reads()
        committed = {document.id: document.create_time.timestamp() for document in orders.stream()}
    return Run([at - committed[order_id] for order_id, at in seen_at.items()], count)


@contextmanager
def by_snapshots(client: Client, seen: Seen) -> Iterator[Callable[[], Reads]]:
    sent = set[tuple[str, object]]()

    def on_change(_documents: Any, changes: Any, _at: Any) -> None:
        for change in changes:
            sent.add((change.document.id, change.document.update_time))
            seen(change.document.id)

    listening = queued(client).on_snapshot(on_change)
    yield lambda: Reads(0, len(sent))
    listening.unsubscribe()  # type: ignore[no-untyped-call]


@contextmanager
def by_queries(client: Client, seen: Seen) -> Iterator[Callable[[], Reads]]:
    over, read = threading.Event(), list[int]()

    def run() -> None:
        while not over.wait(READER_SECONDS):
            found = list(queued(client).limit(READ_AT_ONCE).stream())
            read.append(max(len(found), 1))
            for document in found:
                seen(document.id)

    reader = threading.Thread(target=run)
    reader.start()
    yield lambda: Reads(sum(read), 0)
    over.set()
    reader.join()


def queued(client: Client) -> Query:
    waiting = client.collection(ORDERS).where(filter=FieldFilter("state", "==", State.QUEUED))
    return waiting.order_by("available_at")


if __name__ == "__main__":
    try:
        main()
    except StartFailed as error:
        sys.exit(str(error))
