"""How fast orders are claimed: `python -m bench.claims` starts a Firestore emulator of its own and prints a table.

Each way of claiming gets a project of its own with as many queued orders as it claims. The floor is what the client
library itself can do: read a known document and write it on the condition that it is still that version.
"""

import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.firestore import Client, Transaction, transactional
from rich.console import Console
from rich.table import Table

from emulators.google import start_firestore
from emulators.processes import LOOPBACK, StartFailed, free_port, stop
from functions.adapters import order_document
from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from functions.adapters.firestore_calls import ONCE
from functions.domain.events import Claim
from functions.domain.order import Order, place
from functions.domain.refusals import Refusal
from functions.domain.rules import advance
from functions.engine.candidates import Candidates
from shared.domain.order import LEASE
from shared.domain.spec import TaskSpec
from shared.signals import exit_on_signals

ORDERS_BY_THREADS: Final = {1: 150, 8: 500, 32: 800}
WARM_UP: Final = (8, 1000)
"""Threads and orders of a run that nobody counts: the emulator compiles itself as it goes."""
ROUNDS: Final = 2
"""Each figure is the best of these: whatever else the machine does only slows it."""
BATCH: Final = 100

ClaimOne = Callable[[str], None]
"""Claims one order, given an id that no other claimer is given; a way that finds its own order ignores it."""
Way = Callable[[Client, Order], ClaimOne]
"""Makes the claiming function of one project; the order is one like those queued there."""


def main() -> None:
    exit_on_signals()
    with emulator():
        measure(conditional_write, *WARM_UP)
        table = Table("threads", "way", "claims/s", "of the floor", "failed", title="Claims on the Firestore emulator")
        for threads, count in ORDERS_BY_THREADS.items():
            for row in compare(threads, count):
                table.add_row(*row)
            table.add_section()
        Console().print(table)


def compare(threads: int, count: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each way of claiming, the floor first."""
    runs = [[measure(way, threads, count) for way in WAYS.values()] for _ in range(ROUNDS)]
    best = [max(of_one_way) for of_one_way in zip(*runs, strict=True)]
    floor, _ = best[0]
    for name, (rate, failed) in zip(WAYS, best, strict=True):
        yield str(threads), name, f"{rate:.0f}", f"{rate / floor:.2f}", str(failed)


def measure(way: Way, threads: int, count: int) -> tuple[float, int]:
    """Return the claims a second, and how many of `count` claims failed."""
    client = Client(project=f"bench-{uuid4().hex[:12]}")
    queued = [place(str(uuid4()), "bench", TaskSpec(command=("true",)), datetime.now(UTC)) for _ in range(count)]
    fill(client, queued)
    claim = way(client, queued[0])
    claim_all(claim, [queued.pop().id], 1)  # connects
    began = time.perf_counter()
    failed = claim_all(claim, (order.id for order in queued), threads)
    seconds = time.perf_counter() - began
    client.close()  # type: ignore[no-untyped-call]
    return (len(queued) - failed) / seconds, failed


def fill(client: Client, orders: list[Order]) -> None:
    for start in range(0, len(orders), BATCH):
        batch = client.batch()
        for order in orders[start : start + BATCH]:
            batch.create(client.collection(ORDERS).document(order.id), order_document.encode(order))
        batch.commit()


def claim_all(claim: ClaimOne, order_ids: Iterable[str], threads: int) -> int:
    """Claim until every id is used, on so many threads; return how many claims failed."""
    waiting, failures = deque(order_ids), deque[Exception]()

    def run() -> None:
        while True:
            try:
                order_id = waiting.popleft()
            except IndexError:
                return
            try:
                claim(order_id)
            except (Refusal, GoogleAPICallError, ValueError) as error:  # ValueError: a transaction out of attempts
                failures.append(error)

    crew = [threading.Thread(target=run) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return len(failures)


def conditional_write(client: Client, like: Order) -> ClaimOne:
    orders, fields = client.collection(ORDERS), written(like)

    def claim(order_id: str) -> None:
        document = orders.document(order_id)
        seen = document.get(**ONCE)
        document.update(fields, client.write_option(last_update_time=seen.update_time), **ONCE)

    return claim


def transaction(client: Client, like: Order) -> ClaimOne:
    orders, fields = client.collection(ORDERS), written(like)

    def read_and_write(transaction: Transaction, order_id: str) -> None:
        document = orders.document(order_id)
        document.get(transaction=transaction)
        transaction.update(document, fields)

    def claim(order_id: str) -> None:
        transactional(read_and_write)(client.transaction(), order_id)

    return claim


def apply_by_id(client: Client, _: Order) -> ClaimOne:
    store = FirestoreOrderStore(client)

    def claim(order_id: str) -> None:
        now = datetime.now(UTC)
        store.apply(order_id, a_claim(now), now)

    return claim


def any_candidate(client: Client, like: Order) -> ClaimOne:
    candidates = Candidates(FirestoreOrderStore(client))

    def claim(_: str) -> None:
        now = datetime.now(UTC)
        if candidates.next([like.lane], a_claim(now), now) is None:
            raise Refusal("Nothing was to be had.")

    return claim


def a_claim(now: datetime) -> Claim:
    return Claim(str(uuid4()), "bench", now + LEASE)


def written(order: Order) -> dict[str, Any]:
    """Return the fields that a claim changes, so that the raw writes are as large as ours."""
    return order_document.changes(order, advance(order, a_claim(order.created_at), order.created_at))


WAYS: Final[dict[str, Way]] = {
    "get, conditional write (floor)": conditional_write,
    "transaction": transaction,
    "apply by id": apply_by_id,
    "any candidate": any_candidate,
}


@contextmanager
def emulator() -> Iterator[None]:
    """Run a Firestore emulator, and point this process's clients at it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as logs:
        server = start_firestore(port, Path(logs))
        os.environ["FIRESTORE_EMULATOR_HOST"] = f"{LOOPBACK}:{port}"
        try:
            yield
        finally:
            stop(server)


if __name__ == "__main__":
    try:
        main()
    except StartFailed as error:
        sys.exit(str(error))
