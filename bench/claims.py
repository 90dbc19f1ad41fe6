"""Measures how fast orders are claimed: `python -m bench.claims` starts a Firestore emulator and prints a table.

Each way of claiming gets its own project, with as many queued orders as it claims. The floor is the fastest that the
client library allows: read a known document, and write it on the condition that it has not changed.
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
from emulators.ports import free_port
from emulators.processes import LOOPBACK, StartFailed, stop
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
"""The threads and orders of a run that does not count: the emulator compiles its code while it runs."""
ROUNDS: Final = 2
"""Each figure is the best of this number of runs, because other load on the machine can only slow a run."""
BATCH: Final = 100

ClaimOne = Callable[[str], None]
"""Claims one order. It gets an id that no other claimer gets; a way that finds its own order ignores it."""
Way = Callable[[Client, Order], ClaimOne]
"""Makes the claiming function for one project. The order is like those that are queued there."""


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
    """Yield a row for each way of claiming, the floor's first."""
    runs = [[measure(way, threads, count) for way in WAYS.values()] for _ in range(ROUNDS)]
    best = [max(of_one_way) for of_one_way in zip(*runs, strict=True)]
    floor, _ = best[0]
    for name, (rate, failed) in zip(WAYS, best, strict=True):
        yield str(threads), name, f"{rate:.0f}", f"{rate / floor:.2f}", str(failed)


def measure(way: Way, threads: int, count: int) -> tuple[float, int]:
    """Return the claims per second, and how many of `count` claims failed."""
    client = Client(project=f"bench-{uuid4().hex[:12]}")
    queued = [place(str(uuid4()), "bench", TaskSpec(command=("true",)), datetime.now(UTC)) for _ in range(count)]
    fill(client, queued)
    claim = way(client, queued[0])
    claim_all(claim, [queued.pop().id], 1)  # opens the connection
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
    """Claim on this number of threads until every id is used; return how many claims failed."""
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
            raise Refusal("There was no order to claim.")

    return claim


def a_claim(now: datetime) -> Claim:
    return Claim(str(uuid4()), "bench", now + LEASE)


def written(order: Order) -> dict[str, Any]:
    """Return the fields that a claim changes, so that the floor's writes are as large as a claim's."""
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
