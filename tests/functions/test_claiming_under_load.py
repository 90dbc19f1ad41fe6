"""The queue under load: 32 claimers, 500 orders, the Firestore emulator."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest
from google.cloud.firestore import Client

from functions.adapters.firestore import FirestoreOrderStore
from functions.domain.order import Order
from functions.domain.refusals import Refusal, WrongState
from functions.engine.candidates import Candidates
from shared.domain.order import State
from tests.factories import NOW, a_claim, a_key, an_order
from tests.threads import at_once

pytestmark = pytest.mark.emulator

CLAIMERS = 32
ORDERS = 300


@pytest.fixture
def store(firestore_client: Client) -> FirestoreOrderStore:
    return FirestoreOrderStore(firestore_client)


@pytest.fixture
def queued(store: FirestoreOrderStore) -> list[Order]:
    every = [an_order() for _ in range(ORDERS)]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda order: store.create(order, a_key(order)).order, every))


def test_claimers_of_any_order_claim_each_exactly_once(store: FirestoreOrderStore, queued: list[Order]) -> None:
    candidates, lanes = Candidates(store), [queued[0].lane]

    answers = at_once([partial(_claim_until_none, partial(_next, candidates, lanes))] * CLAIMERS)

    _assert_each_claimed_once(store, queued, answers)


def test_claimers_of_two_processes_claim_each_order_exactly_once(
    store: FirestoreOrderStore, queued: list[Order]
) -> None:
    lanes = [queued[0].lane]
    processes = [Candidates(store), Candidates(store)]
    claimers = [
        partial(_claim_until_none, partial(_next, candidates, lanes))
        for candidates in processes
        for _ in range(CLAIMERS // len(processes))
    ]

    _assert_each_claimed_once(store, queued, at_once(claimers))


def test_claimers_of_orders_by_id_claim_each_exactly_once(store: FirestoreOrderStore, queued: list[Order]) -> None:
    """Each bell is received by two launchers."""
    halves = CLAIMERS // 2
    shares = [queued[number % halves :: halves] for number in range(CLAIMERS)]

    answers = at_once(partial(_claim_each, store, share) for share in shares)

    _assert_each_claimed_once(store, queued, answers)


def _next(candidates: Candidates, lanes: list[str]) -> Order | None:
    return candidates.next(lanes, a_claim(), NOW)


def _claim_until_none(claim_next: Callable[[], Order | None]) -> list[Order]:
    return list(iter(claim_next, None))


def _claim_each(store: FirestoreOrderStore, share: list[Order]) -> list[Order]:
    claimed = []
    for order in share:
        with suppress(WrongState):  # the other launcher was faster
            claimed.append(store.apply(order.id, a_claim(), NOW))
    return claimed


def _assert_each_claimed_once(
    store: FirestoreOrderStore, queued: list[Order], answers: Sequence[list[Order] | Refusal]
) -> None:
    shares = [answer for answer in answers if isinstance(answer, list)]
    assert len(shares) == len(answers), [answer for answer in answers if isinstance(answer, Refusal)]
    claimed = Counter(order.id for share in shares for order in share)
    assert claimed == Counter(order.id for order in queued)
    stands = [store.read(order_id) for order_id in claimed]
    assert {(snapshot.order.state, snapshot.order.epoch) for snapshot in stands} == {(State.CLAIMED, 1)}
