"""One account's orders, however many and however dead, keep no other account's order waiting: claims are counted."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from bench.fairness import SETTINGS, Plan, Simulation
from functions.adapters.memory import MemoryOrderStore
from functions.domain.accounts import AccountType
from functions.domain.events import Claim
from functions.domain.order import Order
from functions.engine.arrivals import Arrivals
from functions.engine.backlogs import Backlogs
from functions.engine.candidates import CANDIDATE_TTL, Candidates
from functions.engine.claim_quotas import ClaimUsage
from functions.engine.claims import Claimant, Claims
from functions.engine.lane_reader import PAGE, READ_AT_ONCE
from functions.ports.orders import OrderStore, Snapshot
from shared.domain.order import LEASE
from shared.domain.spec import AnySpec
from tests.factories import CAPACITY, NOW, TASK, a_claim, a_key, an_order
from tests.functions.world import LAUNCHER, World

MANY: Final = 2 * READ_AT_ONCE
LANES: Final = [an_order(TASK).lane]
SECOND: Final = timedelta(seconds=1)


class CountingStore(MemoryOrderStore):
    """Notes which orders claims try to take."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[str] = []

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        self.tried.append(seen.order.id)
        return super().claim(seen, claim, now)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def flood(store: OrderStore, count: int = MANY, account: str = "flood", age: timedelta = SECOND) -> list[Order]:
    return stored(store, (an_order(account=account, now=NOW - age) for _ in range(count)))


def stored(store: OrderStore, orders: Iterable[Order]) -> list[Order]:
    return [store.create(order, a_key(order)).order for order in orders]


def dead(order: Order) -> Order:
    """Return the order with a queue TTL that has passed."""
    return replace(order, expires_at=NOW)


def test_orders_that_are_dead_cost_no_claim_a_try(store: CountingStore) -> None:
    stored(store, (dead(an_order(now=NOW - SECOND)) for _ in range(MANY)))
    (alive,) = stored(store, [an_order()])

    claimed = Candidates(store).next(LANES, a_claim(), NOW)

    assert claimed is not None
    assert claimed.id == alive.id
    assert store.tried == [alive.id]


def test_another_accounts_order_is_among_the_first_two_behind_more_than_one_read_takes(store: CountingStore) -> None:
    flood(store)
    (victim,) = stored(store, [an_order(account="victim")])
    candidates = Candidates(store)

    claimed = [candidates.next(LANES, a_claim(), NOW) for _ in range(2)]

    assert victim.id in [order.id for order in claimed if order is not None]


def test_an_order_is_found_behind_several_accounts_that_each_have_more_than_one_page(store: CountingStore) -> None:
    accounts = [f"flood-{n}" for n in range(12)]
    for account in accounts:
        flood(store, PAGE + 1, account)
    (victim,) = stored(store, [an_order(account="victim")])
    candidates = Candidates(store)

    # Each claim reads anew. Four reads pass all accounts, and one that had no turn comes first when it is read.
    claims = 4 * (len(accounts) + 1)
    claimed = [candidates.next(LANES, a_claim(), NOW + nth * CANDIDATE_TTL) for nth in range(claims)]

    assert victim.id in [order.id for order in claimed if order is not None]


def test_every_account_is_found_from_wherever_a_reader_begins(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    flood(store, account="m")
    others = stored(store, (an_order(account=name) for name in ("a", "z", "0", "m-2")))
    for start in "0mz":
        monkeypatch.setattr("functions.engine.lane_reader.random.choice", lambda _, start=start: start)
        found = Candidates(store)

        taken = {order.account for order in _claim(found, 5)}

        assert taken == {"a", "z", "0", "m-2", "m"}
        for order in others:
            again = replace(order, id=f"{order.id[:-2]}{start}{start}")
            store.create(again, a_key(again))


def test_no_other_read_is_made_while_one_finds_all(store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flood(store, READ_AT_ONCE - 1)
    monkeypatch.delattr(CountingStore.__mro__[1], "claimable_by_account")

    assert Candidates(store).next(LANES, a_claim(), NOW) is not None


def test_claims_that_take_the_oldest_first_take_turns_among_accounts_and_an_accounts_oldest(
    store: CountingStore,
) -> None:
    many = [an_order(account="flood", now=NOW - (MANY - nth) * SECOND) for nth in range(MANY)]
    stored(store, many)
    own = stored(store, [an_order(account="victim", now=NOW - nth * SECOND / 4) for nth in range(2)])
    candidates = Candidates(store, oldest_first=True)

    claimed = _claim(candidates, 4)

    assert [order.id for order in claimed if order.account == "flood"] == [many[0].id, many[1].id]
    assert [order.id for order in claimed if order.account == "victim"] == [own[1].id, own[0].id]


@pytest.fixture
def fair(world: World) -> World:
    """The control plane with the claims that it has in production."""
    store = world.ports.store
    oldest_first = Candidates(store, pause=timedelta(), oldest_first=True)
    world.ports = replace(world.ports, any_order=Candidates(store, pause=timedelta()), oldest_first=oldest_first)
    return world


def _next(world: World) -> str | None:
    claimed = world.claim_next(LAUNCHER)
    return None if claimed is None else claimed["order_id"]


def _next_of_the_contract(world: World) -> str | None:
    key = world.admit(AccountType.LAUNCHER)[1]
    order = world.post("/api/v1/launchers/capacity/orders/claim", {}, key).get_json()["order"]
    return None if order is None else order["order_id"]


@pytest.mark.parametrize(("spec", "claim"), [(TASK, _next), (CAPACITY, _next_of_the_contract)])
@pytest.mark.parametrize("kill", [lambda order: order, dead], ids=["alive", "dead"])
def test_a_flood_of_one_account_delays_no_other_by_more_than_one_claim(
    fair: World, spec: AnySpec, claim: Callable[[World], str | None], kill: Callable[[Order], Order]
) -> None:
    stored(fair.ports.store, (kill(an_order(spec, account="flood", now=NOW - SECOND)) for _ in range(MANY)))
    victim = fair.place(spec)["id"]

    assert victim in [claim(fair) for _ in range(2)]


def _claim(candidates: Candidates, count: int) -> list[Order]:
    claimed = (candidates.next(LANES, a_claim(), NOW) for _ in range(count))
    return [order for order in claimed if order is not None]


def test_an_order_that_has_just_come_does_not_pass_one_that_waits() -> None:
    store, asleep = MemoryOrderStore(), list[float]()
    candidates = Candidates(store)
    (before,) = flood(store, 1)
    candidates.claim(store.read(before.id), a_claim(), NOW)  # so it is another account's turn

    def meanwhile(_: threading.Event, seconds: float) -> None:
        asleep.append(seconds)
        arrivals.on_gap()  # an order may wait that was not reported
        arrivals.on_order(store.read(flood(store, 1)[0].id))

    arrivals = Arrivals(Deaf(), candidates.note_queued, lambda: NOW, wait=meanwhile, in_background=lambda _: None)
    usage = ClaimUsage(store, lambda: NOW)
    claims = Claims(store, candidates, arrivals, Backlogs(store), usage, lambda: NOW, LEASE)

    def present() -> bool:
        if len(asleep) == 1:
            stored(store, [an_order(account="victim")])
            candidates.note_queued(LANES)
        return True

    claimed = claims.next(Claimant("rack/alpha", "request-1", tuple(LANES), True), 30, present)

    assert claimed is not None
    assert (claimed.account, len(asleep)) == ("victim", 1)


class Deaf:
    """A feed that tells of nothing."""

    def follow(self, on_order: Callable[[Snapshot], None], on_gap: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


@pytest.mark.parametrize("follows", [True, False])
def test_of_many_accounts_none_waits_for_more_than_a_few_claims_of_the_one_that_floods(
    follows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    plan = Plan(accounts=40, orders=1, seconds=80, claims_per_second=1, flood=4 * MANY)

    waits = Simulation(plan, flooded=True, follows=follows).run()

    assert len(waits) == 40
    assert max(wait.claims for wait in waits) <= 2


def test_an_order_that_arrives_has_its_turn_before_those_that_were_read(store: CountingStore) -> None:
    flood(store, 20)
    candidates = Candidates(store)
    assert candidates.next(LANES, a_claim(), NOW) is not None
    (victim,) = stored(store, [an_order(account="victim")])

    candidates.note_queued(LANES, store.read(victim.id))

    claimed = candidates.next(LANES, a_claim(), NOW)
    assert claimed is not None
    assert claimed.id == victim.id


def test_an_order_that_arrives_does_not_pass_an_account_that_had_no_turn_for_longer(store: CountingStore) -> None:
    flood(store, 1)
    candidates = Candidates(store)
    taken = _claim(candidates, 1)
    stored(store, (an_order(account=name) for name in ("victim-1", "victim-2")))
    taken += _claim(candidates, 1)  # which reads both
    (arrived,) = flood(store, 1, age=timedelta())

    candidates.note_queued(LANES, store.read(arrived.id))

    taken += _claim(candidates, 1)
    assert {order.account for order in taken} == {"flood", "victim-1", "victim-2"}
