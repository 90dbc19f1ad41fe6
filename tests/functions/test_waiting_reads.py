"""What claims that wait read from Firestore, counted at the client library's own calls."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud.firestore import Client
from google.cloud.firestore_v1.services.firestore import FirestoreClient

from bench.reads import Reads, counting
from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.firestore_feed import FirestoreOrderFeed
from functions.domain.order import Order
from functions.engine.arrivals import Arrivals
from functions.engine.backlogs import Backlogs
from functions.engine.candidates import Candidates
from functions.engine.claim_quotas import ClaimUsage
from functions.engine.claims import Claimant, Claims
from shared.domain.order import LEASE
from tests.factories import TASK, a_key, an_order
from tests.threads import MAX_SECONDS

pytestmark = pytest.mark.emulator

CLAIMS = 50


class Counts:
    def __init__(self) -> None:
        self._lock, self.present = threading.Lock(), Reads(0, 0)

    def add(self, asked: int, streamed: int) -> None:
        with self._lock:
            self.present = Reads(self.present.asked + asked, self.present.streamed + streamed)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    counts = Counts()
    for name, call in counting(counts.add).items():
        monkeypatch.setattr(FirestoreClient, name, call)
    return counts


@pytest.fixture
def asleep() -> threading.Semaphore:
    """Is released once for each sleep of a waiting claim."""
    return threading.Semaphore(0)


@pytest.fixture
def claims(firestore_client: Client, counts: Counts, asleep: threading.Semaphore) -> Iterator[Claims]:
    store, stopping = FirestoreOrderStore(firestore_client), threading.Event()
    any_order, feed = Candidates(store), FirestoreOrderFeed(firestore_client)

    def wait(woken: threading.Event, seconds: float) -> None:
        asleep.release()
        woken.wait(seconds)

    # Its clock stands still, an hour ahead of every order: as time passes, a claim that waits queries the store again.
    later = now() + timedelta(hours=1)
    arrivals = Arrivals(feed, any_order.note_queued, lambda: later, stopping=stopping.is_set, wait=wait)
    usage = ClaimUsage(store, now)
    yield Claims(store, any_order, arrivals, Backlogs(store), usage, now, LEASE)
    stopping.set()
    arrivals.tick()


def now() -> datetime:
    return datetime.now(UTC)


def test_a_delivered_order_costs_one_read_of_the_stream_and_no_other(
    claims: Claims, counts: Counts, asleep: threading.Semaphore
) -> None:
    with ThreadPoolExecutor(CLAIMS) as pool:
        claimants = [Claimant("rack/alpha", f"request-{n}", (an_order(TASK).lane,), True) for n in range(CLAIMS)]
        waiting = [pool.submit(claims.next, claimant, MAX_SECONDS, lambda: True) for claimant in claimants]
        for _ in range(CLAIMS + 1):  # one of them looks again once the feed works
            assert asleep.acquire(timeout=MAX_SECONDS)
        before = counts.present

        placed = [claims.store.create(order, a_key(order)).order.id for order in _orders()]

        delivered = [claimed.result(MAX_SECONDS) for claimed in waiting]
    assert sorted(order.id for order in delivered if order is not None) == sorted(placed)
    assert counts.present.since(before) == Reads(asked=0, streamed=CLAIMS)


def _orders() -> Iterator[Order]:
    return (an_order(now=now()) for _ in range(CLAIMS))
