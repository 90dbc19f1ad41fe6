"""Claiming any fitting order, by many claimers of one process."""

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from functions.adapters.memory import MemoryOrderStore
from functions.domain.events import Cancel, Claim, Return
from functions.domain.order import Order
from functions.domain.refusals import Refusal, Unavailable
from functions.engine.candidates import (
    BUSY_CANDIDATE_TTL,
    CANDIDATE_TTL,
    MIN_TAKEN_IF_BUSY,
    OWN_QUERY_INTERVAL,
    QUERIES_AT_ONCE,
    QUERY_INTERVAL,
    TRIED_TTL,
    Candidates,
)
from functions.engine.lane_reader import READ_AT_ONCE
from functions.ports.orders import OrderStore, Snapshot
from shared.domain.lanes import of_sessions
from shared.domain.order import Reason, State
from shared.domain.spec import SessionSpec
from tests.factories import CAPACITY, EXPORT, LAUNCHER, NOW, TASK, a_claim, a_key, an_order
from tests.harness.waiting import await_value
from tests.threads import MAX_SECONDS, at_once

LANES = [an_order(TASK).lane]
MANY_LANES = [*LANES, an_order(CAPACITY).lane]


class CountedStore(MemoryOrderStore):
    """Counts its queries and tried changes, and can hold queries up or fail them."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0
        self.tried: list[str] = []
        self.down = False
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        self.queries += 1
        self.asked.set()
        assert self.may_answer.wait(MAX_SECONDS)
        if self.down:
            raise Unavailable("The order store does not answer.")
        return super().claimable(lanes, now, limit)

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        self.tried.append(seen.order.id)
        return super().claim(seen, claim, now)


class AheadOfItsClaimers(CountedStore):
    """Offers what is claimable only later, as one would whose reader's clock is ahead of the claimers'."""

    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        return super().claimable(lanes, now + TRIED_TTL, limit)


class AnnouncingLock:
    """A lock that releases `blocked` once for each thread that has to wait for it, just before the wait."""

    def __init__(self, blocked: threading.Semaphore) -> None:
        self._lock, self._blocked = threading.Lock(), blocked

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._blocked.release()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.fixture
def store() -> CountedStore:
    return CountedStore()


def stored(store: OrderStore, count: int = 1) -> list[Order]:
    return [store.create(order, a_key(order)).order for order in (an_order() for _ in range(count))]


def test_a_claimer_gets_an_order_of_its_lanes(store: CountedStore) -> None:
    (order,) = stored(store)
    other = an_order(EXPORT)
    store.create(other, a_key(other))
    candidates = Candidates(store)

    claimed = candidates.next(LANES, a_claim(), NOW)

    assert claimed == store.get(order.id)
    assert claimed.state is State.CLAIMED
    assert candidates.next(LANES, a_claim(), NOW) is None


def test_one_query_serves_many_claims(store: CountedStore) -> None:
    stored(store, READ_AT_ONCE)
    candidates = Candidates(store)

    claimed = [candidates.next(LANES, a_claim(), NOW) for _ in range(READ_AT_ONCE)]

    assert all(claimed)
    assert store.queries == 1


def test_claimers_at_once_get_each_order_once(store: CountedStore) -> None:
    every = stored(store, 3 * READ_AT_ONCE)
    candidates = Candidates(store)

    claimed = at_once([partial(_claim_all, candidates, LANES)] * 8)

    assert _ids(claimed) == sorted(order.id for order in every)


def test_claimers_of_overlapping_lanes_get_each_order_once(store: CountedStore) -> None:
    every = stored(store, READ_AT_ONCE)
    candidates = Candidates(store)

    claimed = at_once([partial(_claim_all, candidates, LANES), partial(_claim_all, candidates, MANY_LANES)] * 4)

    assert _ids(claimed) == sorted(order.id for order in every)


def test_hosts_that_each_offer_their_own_name_share_one_query(store: CountedStore) -> None:
    jobs = [_job(store).id for _ in range(READ_AT_ONCE)]
    candidates = Candidates(store)

    taken = [candidates.next(_host(n % 50), a_claim(), NOW) for n in range(READ_AT_ONCE)]

    assert sorted(job.id for job in taken if job is not None) == sorted(jobs)
    assert store.queries == 1


def test_another_accounts_job_for_one_host_waits_only_seconds_while_other_jobs_keep_that_busy(
    store: CountedStore,
) -> None:
    for _ in range(100):
        _job(store)
    candidates, now = Candidates(store), NOW
    assert candidates.next(_host(1), a_claim(), now) is not None
    own = _job(store, "host=h2", account="globex")

    taken = list[str | None]()
    while now < NOW + OWN_QUERY_INTERVAL + timedelta(seconds=1):
        for host in (1, 2):
            order = candidates.next(_host(host), a_claim(), now)
            taken.append(None if order is None else order.id)
            _job(store)
        now += CANDIDATE_TTL / 2

    assert None not in taken
    assert own.id in taken


def test_claimers_that_take_the_oldest_first_do_not_take_what_others_read(store: CountedStore) -> None:
    for _ in range(3):
        _job(store)
    candidates = Candidates(store, oldest_first=True)
    candidates.next(_host(1), a_claim(), NOW)
    oldest = _job(store, "host=h2", now=NOW - timedelta(hours=1))

    taken = candidates.next(_host(2), a_claim(), NOW)

    assert taken is not None
    assert taken.id == oldest.id


def test_few_hosts_read_at_once_and_the_others_take_what_those_have_read(
    store: CountedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.engine.candidates.MAX_QUERY_WAIT", MAX_SECONDS)
    jobs = [_job(store).id for _ in range(20)]
    candidates = Candidates(store)
    store.may_answer.clear()
    with ThreadPoolExecutor(len(jobs)) as pool:
        claiming = [pool.submit(candidates.next, _host(n), a_claim(), NOW) for n in range(len(jobs))]
        await_value(lambda: store.queries >= QUERIES_AT_ONCE, "the first queries")
        store.may_answer.set()
        taken = [claim.result(MAX_SECONDS) for claim in claiming]

    assert sorted(job.id for job in taken if job is not None) == sorted(jobs)
    assert store.queries == QUERIES_AT_ONCE


def test_a_store_that_hangs_keeps_no_host_from_asking_it(store: CountedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.engine.candidates.MAX_QUERY_WAIT", 0)
    candidates, hosts = Candidates(store), QUERIES_AT_ONCE + 1
    store.may_answer.clear()
    with ThreadPoolExecutor(hosts) as pool:
        for n in range(hosts):
            pool.submit(candidates.next, _host(n), a_claim(), NOW)
        await_value(lambda: store.queries == hosts, "a query of each host")
        store.may_answer.set()


def _job(store: OrderStore, *labels: str, account: str = "acme", now: datetime = NOW) -> Order:
    order = an_order(SessionSpec(session_name="survey-1", prompt="Work.", labels=labels), account=account, now=now)
    return store.create(order, a_key(order)).order


def _host(number: int) -> Collection[str]:
    return of_sessions([f"host=h{number}"])


def test_no_claimer_tries_an_order_that_another_took_from_other_lanes(store: CountedStore) -> None:
    every = stored(store, 4)
    candidates = Candidates(store)
    for lanes in (LANES, MANY_LANES):  # each set has read its candidates, and shares two with the other
        candidates.next(lanes, a_claim(), NOW)

    rest = [*_claim_all(candidates, LANES), *_claim_all(candidates, MANY_LANES)]

    assert len(rest) == 2
    assert sorted(store.tried) == sorted(order.id for order in every)


def test_the_oldest_order_is_taken_first_even_if_it_was_queued_again(store: CountedStore) -> None:
    every = [an_order(now=NOW + timedelta(seconds=nth)) for nth in range(4)]
    for order in every:
        store.create(order, a_key(order))
    store.apply(every[0].id, a_claim(), NOW)
    store.apply(every[0].id, Return("return", 1, LAUNCHER, Reason.NO_CAPACITY, "no room"), NOW)
    candidates, later = Candidates(store, oldest_first=True), NOW + timedelta(hours=1)

    taken = [candidates.next(LANES, a_claim(), later) for _ in every]

    assert [order.id for order in taken if order] == [order.id for order in every]


def test_candidates_that_were_removed_since_are_passed_over(store: CountedStore) -> None:
    every = stored(store, 4)
    candidates = Candidates(store)
    candidates.next(LANES, a_claim(), NOW)  # which reads them all
    waiting = [order for order in every if store.get(order.id).state is State.QUEUED]
    for order in waiting[:2]:
        store.apply(order.id, Cancel("cancel"), NOW)
        store.remove(order.id)

    claimed = candidates.next(LANES, a_claim(), NOW)

    assert claimed is not None
    assert claimed.id == waiting[2].id
    assert candidates.next(LANES, a_claim(), NOW) is None


def test_candidates_that_others_took_are_passed_over(store: CountedStore) -> None:
    stored(store, 5)
    here, elsewhere = Candidates(store), Candidates(store)
    first = here.next(LANES, a_claim(), NOW)
    taken = _claim_all(elsewhere, LANES, most=3)

    (last,) = _claim_all(here, LANES)

    assert first is not None
    assert {first.id, last.id}.isdisjoint(order.id for order in taken)


def test_an_order_handed_back_is_offered_again_at_once(store: CountedStore) -> None:
    (order,) = stored(store)
    candidates = Candidates(store)
    candidates.next(LANES, a_claim(), NOW)
    store.apply(order.id, Return(str(uuid4()), 1, LAUNCHER, Reason.RETURNED, "going down"), NOW)

    again = candidates.next(LANES, a_claim(), NOW)

    assert again is not None
    assert again.epoch == 2


def test_an_order_that_could_not_be_claimed_is_offered_again_later() -> None:
    order, ahead = an_order(available_at=NOW + TRIED_TTL), AheadOfItsClaimers()
    ahead.create(order, a_key(order))
    candidates = Candidates(ahead)

    assert candidates.next(LANES, a_claim(), NOW) is None
    assert candidates.next(LANES, a_claim(), NOW + TRIED_TTL) is not None


def test_waiting_claimers_cost_one_query_a_second(store: CountedStore) -> None:
    candidates = Candidates(store)
    tenth = QUERY_INTERVAL / 10

    for look in range(30):
        assert candidates.next(LANES, a_claim(), NOW + look * tenth) is None

    assert store.queries == 3


def test_lanes_that_rest_do_not_keep_others_waiting(store: CountedStore) -> None:
    candidates = Candidates(store)
    candidates.next([an_order(EXPORT).lane], a_claim(), NOW)
    stored(store)

    assert candidates.next(LANES, a_claim(), NOW) is not None


def test_a_new_order_is_found_once_the_rest_is_over(store: CountedStore) -> None:
    candidates = Candidates(store)
    candidates.next(LANES, a_claim(), NOW)
    stored(store)

    assert candidates.next(LANES, a_claim(), NOW + QUERY_INTERVAL) is not None


def test_claimers_that_find_nothing_at_once_share_one_query(store: CountedStore) -> None:
    answers = _ask_during_a_query(store, claimers=16, pause=timedelta())

    assert answers == [None] * 17
    assert store.queries == 1


def test_a_query_that_fails_fails_only_the_claimer_that_made_it(store: CountedStore) -> None:
    store.down = True

    first, *others = _ask_during_a_query(store, claimers=4)

    assert isinstance(first, Unavailable)
    assert others == [None] * 4


def test_candidates_read_long_ago_are_read_again(store: CountedStore) -> None:
    stored(store, 3)
    candidates = Candidates(store)
    candidates.next(LANES, a_claim(), NOW)

    candidates.next(LANES, a_claim(), NOW + CANDIDATE_TTL)

    assert store.queries == 2


def test_candidates_that_many_share_are_tried_for_longer(store: CountedStore) -> None:
    stored(store, 10)
    candidates = Candidates(store)
    for _ in range(MIN_TAKEN_IF_BUSY):
        candidates.next(LANES, a_claim(), NOW)

    candidates.next(LANES, a_claim(), NOW + CANDIDATE_TTL)
    assert store.queries == 1

    candidates.next(LANES, a_claim(), NOW + BUSY_CANDIDATE_TTL)
    assert store.queries == 2


def test_another_accounts_order_is_among_the_first_two_after_a_burst_of_one_account(store: CountedStore) -> None:
    for _ in range(100):
        order = an_order(account="burst")
        store.create(order, a_key(order))
    candidates, now = Candidates(store), NOW
    for _ in range(3):
        assert candidates.next(LANES, a_claim(), now) is not None  # all of them are read before the other order exists
    single = an_order(account="single", now=NOW + timedelta(seconds=1))
    store.create(single, a_key(single))

    now = NOW + timedelta(seconds=1)
    claimed = [candidates.next(LANES, a_claim(), now) for _ in range(2)]

    assert single.id in [order.id for order in claimed if order is not None]


def test_accounts_take_turns_whichever_has_more_and_across_queries(store: CountedStore) -> None:
    for account, count in (("a", 9), ("b", 3), ("c", 3)):
        for _ in range(count):
            order = an_order(account=account)
            store.create(order, a_key(order))
    candidates = Candidates(store)

    claimed = [candidates.next(LANES, a_claim(), NOW + nth * CANDIDATE_TTL) for nth in range(9)]  # a query for each

    assert store.queries == 9
    turns = [{order.account for order in claimed[at : at + 3] if order} for at in (0, 3, 6)]
    assert turns == [{"a", "b", "c"}] * 3


def test_processes_try_one_accounts_orders_in_sequences_of_their_own(store: CountedStore) -> None:
    every = {order.id: nth for nth, order in enumerate(stored(store, 50))}

    here, elsewhere = ([every[order.id] for order in _claim_all(Candidates(store), LANES, most=10)] for _ in range(2))

    assert here != sorted(here)
    assert elsewhere != sorted(elsewhere)


def _claim_all(candidates: Candidates, lanes: Collection[str], most: int = 10_000) -> list[Order]:
    claimed: list[Order] = []
    while len(claimed) < most and (order := candidates.next(lanes, a_claim(), NOW)) is not None:
        claimed.append(order)
    return claimed


def _ids(claimed: list[list[Order] | Refusal]) -> list[str]:
    return sorted(order.id for orders in claimed if isinstance(orders, list) for order in orders)


def _ask_during_a_query(
    store: CountedStore, claimers: int, pause: timedelta = QUERY_INTERVAL
) -> list[Order | Refusal | None]:
    """Return the answers of a claimer that queries, and of others that arrive, much later, during its delayed query."""
    blocked = threading.Semaphore(0)
    candidates = Candidates(store, pause, new_lock=lambda: AnnouncingLock(blocked))
    store.may_answer.clear()

    def ask(now: datetime) -> Order | Refusal | None:
        try:
            return candidates.next(LANES, a_claim(), now)
        except Refusal as refusal:
            return refusal

    with ThreadPoolExecutor(claimers + 1) as pool:
        first = pool.submit(ask, NOW)
        assert store.asked.wait(MAX_SECONDS)
        others = [pool.submit(ask, NOW + 10 * QUERY_INTERVAL) for _ in range(claimers)]
        for _ in others:
            assert blocked.acquire(timeout=MAX_SECONDS)
        store.may_answer.set()
        return [first.result(MAX_SECONDS), *(other.result(MAX_SECONDS) for other in others)]
