"""Claims that wait are woken by what arrives, and read nothing from the store meanwhile."""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from functions.adapters.memory import MemoryOrderStore
from functions.domain.events import Cancel, Claim, Return
from functions.domain.order import Order
from functions.domain.refusals import Unavailable
from functions.engine.arrivals import DISPLACED_DELAY, FEED_LINGER, MAX_DISPLACED, QUERY_INTERVAL, RETRY_DELAY, Arrivals
from functions.engine.backlogs import Backlogs
from functions.engine.candidates import Candidates
from functions.engine.claim_quotas import ClaimUsage
from functions.engine.claims import Claimant, Claims
from functions.ports.orders import Snapshot
from shared.domain.order import LEASE, Reason
from tests.factories import CAPACITY, NOW, TASK, a_claim, a_key, an_order
from tests.harness.waiting import await_value
from tests.meanwhile import Meanwhile
from tests.threads import MAX_SECONDS

LANES = (an_order(TASK).lane,)
OTHER_LANES = (an_order(CAPACITY).lane,)


class Store(MemoryOrderStore):
    """Counts what is asked of it. It can be down, and its feed can be dead."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.down = self.deaf = False
        self.followers = 0

    def follow(self, on_order: Callable[[Snapshot], None], on_gap: Callable[[], None]) -> Callable[[], None]:
        self.followers += 1
        stop = super().follow(lambda arrived: None if self.deaf else on_order(arrived), on_gap)

        def end() -> None:
            self.followers -= 1
            stop()

        return end

    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        self._note("claimable")
        return super().claimable(lanes, now, limit)

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        self._note("claim")
        return super().claim(seen, claim, now)

    def remembering(self, request_id: str) -> Sequence[Order]:
        self._note("remembering")
        return super().remembering(request_id)

    def _note(self, name: str) -> None:
        self.asked.append(name)
        if self.down:
            raise Unavailable("The order store does not answer.")


@dataclass
class Caller:
    """One waiting claim: its launcher, and what it was answered."""

    holder: str = "rack/alpha"
    lanes: tuple[str, ...] = LANES
    connected: bool = True
    word: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    """How often it was asked for word."""
    request_id: str = field(default_factory=lambda: str(uuid4()))
    answer: Future[Order | None] = field(init=False)

    def has_command(self) -> bool:
        self.asked += 1
        return self.word.is_set()

    @property
    def order(self) -> Order | None:
        return self.answer.result(MAX_SECONDS)


class Instance:
    """One instance of the control plane: its waiting claims, on threads. Its clock stands until it is moved."""

    def __init__(self, store: Store, pool: ThreadPoolExecutor, most: int, most_displaced: int) -> None:
        self.store, self.now, self.stopping = store, NOW, False
        self._pool = pool
        self._sleeping = threading.Semaphore(0)
        any_order = Candidates(store)
        self.arrivals = Arrivals(
            store,
            any_order.note_queued,
            lambda: self.now,
            most,
            most_displaced,
            stopping=lambda: self.stopping,
            wait=self._wait,
            in_background=lambda _: None,
        )
        usage = ClaimUsage(store, lambda: self.now)
        self.claims = Claims(store, any_order, self.arrivals, Backlogs(store), usage, lambda: self.now, LEASE)

    def _wait(self, woken: threading.Event, _: float) -> None:
        """Sleep until something wakes the claim, whatever the clock says."""
        self._sleeping.release()
        assert woken.wait(MAX_SECONDS)

    def wait(self, caller: Caller) -> Caller:
        """Have a caller wait, and return once it sleeps."""
        waiting = Claimant(caller.holder, caller.request_id, caller.lanes, attended=True)
        caller.answer = self._pool.submit(self.claims.next, waiting, 30, lambda: caller.connected, caller.has_command)
        assert self._sleeping.acquire(timeout=MAX_SECONDS)
        return caller

    def hold_back(self) -> None:
        self.arrivals.hold_back(LANES, "rack/alpha")

    def end(self) -> None:
        """End all waits, as the end of the process does."""
        self.stopping = True
        self.arrivals.tick()

    def all_sleep(self, count: int) -> None:
        """Return once this many claims have gone to sleep again."""
        for _ in range(count):
            assert self._sleeping.acquire(timeout=MAX_SECONDS)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def start(store: Store) -> Iterator[Callable[..., Instance]]:
    instances = list[Instance]()
    with ThreadPoolExecutor(256) as pool:

        def begin(most: int = 256, most_displaced: int = MAX_DISPLACED) -> Instance:
            instances.append(Instance(store, pool, most, most_displaced))
            return instances[-1]

        yield begin
        store.down = False
        for instance in instances:
            instance.end()


@pytest.fixture
def instance(start: Callable[..., Instance]) -> Instance:
    return start()


def place(store: Store, available_at: datetime = NOW) -> Order:
    order = an_order(available_at=available_at)
    return store.create(order, a_key(order)).order


def test_an_order_that_arrives_is_claimed_once_by_the_claim_that_waited_longest(
    store: Store, instance: Instance
) -> None:
    callers = [instance.wait(Caller()) for _ in range(50)]
    before = len(store.asked)

    order = place(store)

    assert callers[0].order == store.get(order.id)
    assert store.get(order.id).epoch == 1
    assert store.asked[before:] == ["claim"]
    assert not any(caller.answer.done() for caller in callers[1:])


def test_each_of_many_orders_is_given_to_one_of_many_claims_without_a_query(store: Store, instance: Instance) -> None:
    callers = [instance.wait(Caller()) for _ in range(200)]
    before = len(store.asked)

    orders = [place(store) for _ in range(200)]

    given = [caller.order for caller in callers]
    assert sorted(order.id for order in given if order is not None) == sorted(order.id for order in orders)
    assert store.asked[before:] == ["claim"] * 200


def test_claims_that_wait_in_vain_ask_the_store_twice_and_share_one_query(store: Store, instance: Instance) -> None:
    callers = [instance.wait(Caller()) for _ in range(50)]
    instance.now += QUERY_INTERVAL / 2
    instance.arrivals.tick()

    instance.now += timedelta(seconds=30)
    instance.arrivals.nudge(callers[0].holder)

    assert [caller.order for caller in callers] == [None] * 50
    assert sorted(store.asked) == ["claimable"] + ["remembering"] * 100


def test_a_claim_that_hung_up_takes_nothing_and_the_next_gets_the_order(store: Store, instance: Instance) -> None:
    gone, live = instance.wait(Caller()), instance.wait(Caller())
    gone.connected = False

    order = place(store)

    assert gone.order is None
    assert live.order == store.get(order.id)
    assert store.get(order.id).epoch == 1


def test_an_order_that_only_hung_up_claims_were_offered_is_there_for_the_next(store: Store, instance: Instance) -> None:
    gone = [instance.wait(Caller()) for _ in range(20)]
    for caller in gone:
        caller.connected = False

    order = place(store)
    assert [caller.order for caller in gone] == [None] * 20

    (claimed,) = at_once(instance, 1)
    assert claimed == store.get(order.id)


def test_a_claim_of_other_lanes_is_not_woken(store: Store, instance: Instance) -> None:
    other, fitting = instance.wait(Caller(lanes=OTHER_LANES)), instance.wait(Caller())

    place(store)

    assert fitting.order is not None
    assert not other.answer.done()


def test_a_claim_whose_order_another_instance_took_waits_on(store: Store, start: Callable[..., Instance]) -> None:
    here, there = start(), start()
    callers = [here.wait(Caller()), there.wait(Caller())]

    first, second = place(store), place(store)

    assert {caller.order.id for caller in callers if caller.order is not None} == {first.id, second.id}


def test_orders_that_nobody_was_free_for_are_found_by_the_next_claims_at_once(store: Store, instance: Instance) -> None:
    """Although a query a moment ago found nothing."""
    waiting = instance.wait(Caller())

    orders = [place(store) for _ in range(5)]

    claimed = [waiting.order, *at_once(instance, 4)]
    assert sorted(order.id for order in claimed if order is not None) == sorted(order.id for order in orders)


def test_an_order_is_offered_when_it_becomes_available(store: Store, instance: Instance) -> None:
    caller = instance.wait(Caller())
    order = place(store, NOW + timedelta(seconds=10))
    instance.now += timedelta(seconds=9)
    instance.arrivals.tick()
    assert not caller.answer.done()

    instance.now += timedelta(seconds=1)
    instance.arrivals.tick()

    assert caller.order == store.get(order.id)


def test_what_a_dead_feed_did_not_tell_is_found_by_the_next_query(store: Store, instance: Instance) -> None:
    store.deaf = True
    callers = [instance.wait(Caller()) for _ in range(50)]
    orders = [place(store) for _ in range(3)]
    before = len(store.asked)

    instance.now += QUERY_INTERVAL
    instance.arrivals.tick()

    given = [caller.order for caller in callers[:3]]
    assert sorted(order.id for order in given if order is not None) == sorted(order.id for order in orders)
    instance.all_sleep(1)  # the one that looked after them, and found nothing more
    assert store.asked[before:].count("claimable") <= 2
    assert not any(caller.answer.done() for caller in callers[3:])


def test_after_a_fault_of_the_feed_one_claim_of_each_set_of_lanes_looks(store: Store, instance: Instance) -> None:
    store.deaf = True
    callers = [instance.wait(Caller(lanes=lanes)) for lanes in (LANES, OTHER_LANES, LANES)]
    order = place(store)
    instance.now += timedelta(seconds=5)
    before = len(store.asked)

    instance.arrivals.on_gap()

    assert callers[0].order == store.get(order.id)
    instance.all_sleep(2)
    assert sorted(store.asked[before:]) == ["claim"] + ["claimable"] * 3  # one looks on, as the first found something


def test_a_claim_waits_on_while_the_store_is_down_and_gets_its_order_after_that(
    store: Store, instance: Instance
) -> None:
    caller = instance.wait(Caller())
    store.down = True
    order = place(store)
    instance.all_sleep(1)
    instance.now += RETRY_DELAY
    instance.arrivals.tick()
    instance.all_sleep(1)

    store.down = False
    instance.now += RETRY_DELAY
    instance.arrivals.tick()

    assert caller.order == store.get(order.id)


def test_a_stop_ends_the_wait_of_its_launcher_alone(store: Store, instance: Instance) -> None:
    order = place(store)
    store.apply(order.id, a_claim("rack/beta"), NOW)
    stopped, other, going_on = (instance.wait(Caller(holder)) for holder in ("rack/beta", "rack/alpha", "rack/beta"))
    stopped.word.set()
    before = len(store.asked)

    store.apply(order.id, Cancel("a"), NOW)

    assert stopped.order is None
    instance.all_sleep(1)
    instance.end()
    assert (other.order, other.asked) == (None, 1)
    assert (going_on.order, going_on.asked) == (None, 2)
    assert store.asked[before:] == []


def test_what_arrives_during_the_first_query_is_noticed(store: Store, instance: Instance, meanwhile: Meanwhile) -> None:
    placed = list[Order]()
    meanwhile(store, "claimable", lambda: placed.append(place(store)), after=True)

    claimed = instance.claims.next(claimant(), MAX_SECONDS, lambda: True)

    assert claimed == store.get(placed[0].id)


def test_a_stop_that_is_asked_for_during_the_first_query_is_noticed(
    store: Store, instance: Instance, meanwhile: Meanwhile
) -> None:
    order, word = place(store), threading.Event()
    store.apply(order.id, a_claim("rack/alpha"), NOW)

    def ask() -> None:
        word.set()
        store.apply(order.id, Cancel("a"), NOW)

    meanwhile(store, "claimable", ask, after=True)

    assert instance.claims.next(claimant(), MAX_SECONDS, lambda: True, word.is_set) is None


def test_an_order_that_is_given_back_is_offered_again(store: Store, instance: Instance) -> None:
    order = place(store)
    store.apply(order.id, a_claim("rack/beta"), NOW)
    caller = instance.wait(Caller())

    store.apply(order.id, Return("a", 1, "rack/beta", Reason.RETURNED, "no room"), NOW)

    claimed = caller.order
    assert claimed is not None
    assert (claimed.id, claimed.epoch) == (order.id, 2)


def test_one_request_that_waits_twice_gets_one_order_and_the_other_goes_on_to_the_next(
    store: Store, instance: Instance
) -> None:
    first, repeat = instance.wait(Caller(request_id="one")), instance.wait(Caller(request_id="one"))
    place(store)
    claimed = first.order
    other = instance.wait(Caller())

    order = place(store)

    assert claimed is not None
    assert repeat.order == claimed
    assert other.order == store.get(order.id)


def test_more_claims_than_may_wait_end_the_wait_of_the_oldest(store: Store, start: Callable[..., Instance]) -> None:
    instance = start(most=2)
    oldest, second, third = (instance.wait(Caller()) for _ in range(3))

    orders = {place(store).id for _ in range(2)}
    assert {caller.order.id for caller in (second, third) if caller.order is not None} == orders
    assert not oldest.answer.done(), "its launcher would claim again at once, and end another's wait"
    instance.now += DISPLACED_DELAY
    instance.arrivals.tick()
    assert oldest.order is None


def test_few_claims_whose_wait_others_ended_are_held(start: Callable[..., Instance]) -> None:
    instance = start(most=1, most_displaced=2)

    callers = [instance.wait(Caller()) for _ in range(4)]

    assert callers[0].order is None
    assert not any(caller.answer.done() for caller in callers[1:])


def test_an_account_whose_claims_take_most_places_ends_nobody_elses_wait(start: Callable[..., Instance]) -> None:
    instance = start(most=4)
    longest = instance.wait(Caller("attic/alpha"))
    crowd = [instance.wait(Caller(f"rack/{number}")) for number in range(10)]

    instance.now += DISPLACED_DELAY
    instance.arrivals.tick()

    assert [caller.order for caller in crowd[:7]] == [None] * 7
    assert not any(caller.answer.done() for caller in (longest, *crowd[7:]))


def test_few_claims_that_may_not_wait_are_held_back(start: Callable[..., Instance]) -> None:
    """Each takes a thread: the next one ends the pause of the first."""
    instance = start(most_displaced=2)
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(instance.hold_back) for _ in range(2)]
        instance.all_sleep(2)
        assert not any(one.done() for one in held)

        held.append(pool.submit(instance.hold_back))
        instance.all_sleep(1)

        await_value(lambda: sum(one.done() for one in held) == 1, "the end of one pause")
        instance.end()


def test_a_claim_whose_wait_another_ended_is_answered_when_the_process_ends(start: Callable[..., Instance]) -> None:
    instance = start(most=1)
    displaced, last = (instance.wait(Caller()) for _ in range(2))

    instance.end()

    assert (displaced.order, last.order) == (None, None)


def test_all_waits_end_with_the_process_and_no_other_begins(store: Store, instance: Instance) -> None:
    callers = [instance.wait(Caller()) for _ in range(20)]
    instance.stopping = True

    going_on = instance.arrivals.tick()

    assert not going_on
    assert [caller.order for caller in callers] == [None] * 20
    assert instance.claims.next(claimant(), MAX_SECONDS, lambda: True) is None
    assert store.followers == 0


def test_the_feed_is_followed_only_while_claims_wait(store: Store, instance: Instance) -> None:
    at_once(instance, 1)
    assert store.followers == 0
    caller = instance.wait(Caller())
    assert store.followers == 1
    place(store)
    assert caller.order is not None
    instance.now += FEED_LINGER / 2
    assert instance.arrivals.tick()

    instance.now += FEED_LINGER / 2
    assert not instance.arrivals.tick()

    assert store.followers == 0
    again = instance.wait(Caller())
    assert store.followers == 1
    place(store, instance.now)
    assert again.order is not None


def test_a_wait_needs_nobody_to_move_its_clock(store: Store) -> None:
    """With the process's own clock and threads: an order that becomes available meanwhile is claimed."""
    any_order = Candidates(store)
    arrivals = Arrivals(store, any_order.note_queued, now)
    claims = Claims(store, any_order, arrivals, Backlogs(store), ClaimUsage(store, now), now, LEASE)
    with ThreadPoolExecutor(1) as pool:
        claimed = pool.submit(claims.next, claimant(), MAX_SECONDS, lambda: True)
        await_value(lambda: "claimable" in store.asked, "the first look")

        order = an_order(now=now(), available_at=now() + timedelta(seconds=0.5))
        store.create(order, a_key(order))

        assert claimed.result(MAX_SECONDS) == store.get(order.id)


def now() -> datetime:
    return datetime.now(UTC)


def at_once(instance: Instance, count: int) -> list[Order | None]:
    """Return the answers of claims that do not wait."""
    return [instance.claims.next(claimant(), 0, lambda: True) for _ in range(count)]


def claimant() -> Claimant:
    return Claimant("rack/alpha", str(uuid4()), LANES, attended=True)
