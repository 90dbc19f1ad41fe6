"""The same over Firestore, whose queries and indexes decide what is read past."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest
from google.cloud.firestore import Client

from functions.adapters import order_document
from functions.adapters.firestore import ORDERS, FirestoreOrderStore
from functions.domain.events import Claim
from functions.domain.order import Order
from functions.engine.candidates import CANDIDATE_TTL, Candidates
from functions.ports.orders import Snapshot
from tests.factories import NOW, TASK, a_claim, a_key, an_order

pytestmark = pytest.mark.emulator

LANES: Final = [an_order(TASK).lane]
COUNT: Final = 600
AT_ONCE: Final = 300
"""Documents in one commit."""
OLD: Final = NOW - timedelta(hours=1)


def plant(client: Client, orders: Iterable[Order]) -> None:
    every = list(orders)
    for first in range(0, len(every), AT_ONCE):
        batch = client.batch()
        for order in every[first : first + AT_ONCE]:
            batch.create(client.collection(ORDERS).document(order.id), order_document.encode(order))
        batch.commit()


@pytest.fixture
def store(firestore_client: Client) -> FirestoreOrderStore:
    """The lane of a victim, whose one order is behind another account's orders: dead, alive, and for later."""
    flood = (an_order(account="flood", now=OLD) for _ in range(COUNT))
    plant(firestore_client, flood)
    plant(firestore_client, (replace(an_order(account="flood", now=OLD), expires_at=NOW) for _ in range(COUNT)))
    later = NOW + timedelta(hours=1)
    plant(firestore_client, (an_order(account="flood", available_at=later) for _ in range(AT_ONCE)))
    store = FirestoreOrderStore(firestore_client)
    victim = an_order(account="victim")
    store.create(victim, a_key(victim))
    return store


@pytest.mark.parametrize("oldest_first", [False, True])
def test_an_order_is_among_the_first_two_behind_hundreds_of_another_account(
    store: FirestoreOrderStore, oldest_first: bool
) -> None:
    candidates = Candidates(store, oldest_first=oldest_first)

    claimed = [candidates.next(LANES, a_claim(), NOW) for _ in range(2)]

    assert [order.account for order in claimed if order is not None].count("victim") == 1
    assert [order.account for order in claimed if order is not None].count("flood") == 1


def test_no_dead_order_is_tried(store: FirestoreOrderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[Order]()
    claim = store.claim

    def note(seen: Snapshot, asked: Claim, now: datetime) -> Order:
        tried.append(seen.order)
        return claim(seen, asked, now)

    monkeypatch.setattr(store, "claim", note)
    candidates = Candidates(store)

    for nth in range(5):
        assert candidates.next(LANES, a_claim(), NOW + nth * CANDIDATE_TTL) is not None

    assert len(tried) == 5
    assert all(order.expires_at > NOW for order in tried)
