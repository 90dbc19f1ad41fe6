"""Quotas of accounts: how many orders and machines one may ask for, and how fast."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
import structlog.testing
from werkzeug.test import TestResponse

from functions.adapters.memory import MemoryOrderStore
from functions.adapters.memory_records import MemoryRecords
from functions.domain.accounts import NOBODY, AccountType
from functions.domain.order import OPEN
from functions.domain.quotas import DEFAULT_QUOTAS, Demand
from functions.domain.refusals import QuotaExceeded, Unavailable
from functions.engine.quotas import BURST_SECONDS, COUNT_TTL, LOG_INTERVAL, LOW_COUNT_TTL, MIN_RECOUNT_AGE, Usage
from functions.ports.orders import OrderQuery
from shared.domain.order import State
from shared.domain.spec import OrderKind
from shared.log_events import LogEvent
from tests.factories import CAPACITY, EXPORT, NOW, SESSION, TASK, a_key, an_order
from tests.functions.capacity.pools import POOL, aim, alive, buy, fail, reconcile, swept
from tests.functions.exports.client import OTHER_PI, PI
from tests.functions.jobs.client import START
from tests.functions.jobs.sessions import end, job, ran, resumed, run
from tests.functions.world import ADMIN, CLIENT, STRANGER, Clock, World
from tests.meanwhile import Failing, Meanwhile


def limit(world: World, **quotas: Any) -> None:
    world.ports = replace(world.ports, quotas=replace(DEFAULT_QUOTAS, **quotas))


def create(world: World, spec: Any = TASK, key: str = CLIENT, idempotency_key: str | None = None) -> TestResponse:
    headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
    return world.post("/v1/orders", {"order": spec.model_dump(mode="json")}, key, headers)


def requeue(world: World) -> TestResponse:
    """Requeue an order that failed before the quota was used up."""
    failed = an_order(state=State.FAILED, due_at=None)
    world.ports.store.create(failed, a_key(failed))
    return world.post(f"/v1/orders/{failed.id}/requeue")


WAYS: Final[Mapping[str, Callable[[World], TestResponse]]] = {
    "an order": create,
    "a machine": lambda world: create(world, CAPACITY),
    "a session": lambda world: create(world, SESSION),
    "a successor": requeue,
    "an export": lambda world: world.post("/export/mods", {"pi": PI}),
    "a batch": lambda world: world.post("/export/mods/batch", {"pis": [PI, OTHER_PI]}),
    "a job": lambda world: world.post("/jobs", START),
    "a job with labels": lambda world: world.post("/jobs", START | {"labels": ["gpu"]}),
    "a purchase": lambda world: buy(world, *deployer(world, "acme"), datacenter="gcp:a"),
}


def deployer(world: World, account: str) -> tuple[str, str]:
    """Return an account of the capacity contract and its key; the account is that of the client's key."""
    account_id, key = world.admit(AccountType.DEPLOYER)
    stored = world.ports.accounts.all(10)[0]
    world.ports.accounts.change(stored.name, lambda one: replace(one, id=account))
    found = world.ports.keys.find(stored.key_digest)
    assert found is not None
    world.ports.keys.add(replace(found, account=account))
    assert account_id
    return account, key


def stored(world: World, account: str = "acme") -> int:
    return world.ports.store.count(OrderQuery(account=account, states=OPEN))


def text(answer: TestResponse) -> str:
    """Return what a refusal says, in the form of any contract."""
    body = answer.get_json()
    said: str = body.get("detail") or body["error"]
    return said


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_new_orders_is_refused_once_the_account_has_too_many(world: World, way: str) -> None:
    limit(world, open_orders=2)
    for _ in range(2):
        assert create(world).status_code == 201

    answer = WAYS[way](world)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10"), answer.text
    assert "2 orders of this account have not ended, and 2 is the most." in text(answer)
    assert text(answer).endswith("(quota: open_orders)")
    assert stored(world) == 2
    assert world.ports.batches.all(10) == []
    assert world.ports.pools.all(10) == []
    assert create(world, key=STRANGER).status_code == 201, "another account has its own"


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_new_orders_counts_for_the_next(world: World, way: str) -> None:
    limit(world, open_orders=3)
    create(world)

    answer = WAYS[way](world)

    assert answer.status_code in (200, 201), answer.text
    for _ in range(3 - stored(world)):
        assert create(world).status_code == 201
    assert create(world).status_code == 429


def test_orders_that_ended_make_room_for_others(world: World) -> None:
    limit(world, open_orders=2)
    first, _ = (create(world).get_json()["id"] for _ in range(2))
    assert create(world).status_code == 429

    world.post(f"/v1/orders/{first}/cancel")
    world.clock.now += MIN_RECOUNT_AGE

    assert create(world).status_code == 201
    assert create(world).status_code == 429


def test_a_batch_that_would_exceed_the_quota_is_refused_as_a_whole(world: World) -> None:
    limit(world, open_orders=2)
    create(world)

    answer = world.post("/export/mods/batch", {"pis": [PI, OTHER_PI]})

    assert answer.status_code == 429
    assert stored(world) == 1


REPEATED: Final[Mapping[str, Callable[[World], TestResponse]]] = {
    "an order": lambda world: create(world, idempotency_key="one"),
    "an export": lambda world: world.post("/export/mods", {"pi": PI}, headers={"Idempotency-Key": "one"}),
    "a batch": lambda world: world.post("/export/mods/batch", {"pis": [PI]}, headers={"Idempotency-Key": "one"}),
    "a job": lambda world: world.post("/jobs", START, headers={"Idempotency-Key": "one"}),
}


@pytest.mark.parametrize("what", REPEATED)
def test_a_lost_answer_is_repeated_although_the_quota_is_used_up(world: World, what: str) -> None:
    limit(world, open_orders=2)
    first = REPEATED[what](world)
    assert first.status_code in (200, 201)
    create(world)
    assert create(world).status_code == 429

    again = REPEATED[what](world)

    assert (again.status_code, again.get_json()) == (first.status_code, first.get_json())
    assert stored(world) == 2


def test_a_successor_is_returned_again_although_the_quota_is_used_up(world: World) -> None:
    limit(world, open_orders=1)
    first = requeue(world).get_json()
    failed = first["requeued_from"]

    again = world.post(f"/v1/orders/{failed}/requeue")

    assert (again.status_code, again.get_json()["id"]) == (201, first["id"])
    assert create(world).status_code == 429


def test_a_key_that_was_used_for_another_order_is_told_apart_from_a_repeat(world: World) -> None:
    limit(world, open_orders=1)
    create(world, idempotency_key="one")

    assert create(world, EXPORT, idempotency_key="one").status_code == 409


def test_repeats_use_up_no_quota(world: World) -> None:
    limit(world, open_orders=3)
    for _ in range(5):
        assert create(world, idempotency_key="one").status_code == 201
        assert REPEATED["a batch"](world).status_code == 200

    assert create(world).status_code == 201


def test_of_two_requeues_at_once_one_uses_the_quota(world: World, meanwhile: Meanwhile) -> None:
    limit(world, open_orders=2)
    failed = an_order(state=State.FAILED, due_at=None)
    world.ports.store.create(failed, a_key(failed))

    def faster() -> None:
        world.clock.now += timedelta(milliseconds=1)
        assert world.post(f"/v1/orders/{failed.id}/requeue").status_code == 201

    meanwhile(world.ports.store, "create", faster)
    assert world.post(f"/v1/orders/{failed.id}/requeue").status_code == 201

    assert stored(world) == 1
    assert create(world).status_code == 201


def test_an_operator_has_no_quota(world: World) -> None:
    limit(world, open_orders=1, machines=1, creates_per_second=0.001)
    create(world)
    failed = an_order(state=State.FAILED, due_at=None)
    world.ports.store.create(failed, a_key(failed))

    for spec in (TASK, CAPACITY, SESSION, TASK):
        assert create(world, spec, ADMIN).status_code == 201
    assert world.post("/export/mods", {"pi": PI}, ADMIN).status_code == 200
    assert world.post("/export/mods/batch", {"pis": [PI, OTHER_PI]}, ADMIN).status_code == 200
    assert world.post("/jobs", START, ADMIN).status_code == 200
    assert world.post(f"/v1/orders/{failed.id}/requeue", key=ADMIN).status_code == 201


def test_an_operators_own_pool_has_no_quota(world: World) -> None:
    limit(world, open_orders=1, machines=1, creates_per_second=0.001)

    aim(world, 3)
    reconcile(world, dispatch=True)

    assert stored(world, NOBODY) == 3


def test_an_account_creates_no_more_than_its_rate_after_a_burst(world: World) -> None:
    limit(world, creates_per_second=0.5)
    burst = int(0.5 * BURST_SECONDS)
    for _ in range(burst):
        assert create(world).status_code == 201

    answer = create(world)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert text(answer).startswith("This account creates more than 0.5 orders a second.")
    assert answer.get_json()["type"] == "urn:launchyard:problem:quota_exceeded"
    assert create(world, key=STRANGER).status_code == 201
    world.clock.now += timedelta(seconds=2)
    assert create(world).status_code == 201
    assert create(world).status_code == 429


def test_a_large_batch_is_created_at_any_rate_and_the_account_waits_for_it_afterwards(world: World) -> None:
    limit(world, creates_per_second=0.1)  # two at once
    pis = [f"01K9Z3K4GMDWTT0VQXYSPC{number:04}" for number in range(5)]

    assert world.post("/export/mods/batch", {"pis": pis}).status_code == 200

    answer = create(world)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "40")
    world.clock.now += timedelta(seconds=40)
    assert create(world).status_code == 201


def test_machines_that_were_ordered_and_those_of_pools_count_together(world: World) -> None:
    limit(world, machines=4)
    account, key = deployer(world, "acme")
    assert create(world, CAPACITY).status_code == 201
    assert buy(world, account, key, datacenter="gcp:a", min_warm_count=2).status_code == 200

    answer = buy(world, account, key, datacenter="gcp:b", min_warm_count=2)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "has ordered 3 machines, those of its pools included, and 4 is the most." in text(answer)
    assert text(answer).endswith("(quota: machines)")
    assert len(world.ports.pools.all(10)) == 1
    assert create(world, CAPACITY).status_code == 201
    assert create(world, CAPACITY).status_code == 429
    assert create(world, TASK).status_code == 201, "it is no machine that stays"
    again = buy(world, account, key, datacenter="gcp:a", min_warm_count=2)
    assert again.status_code == 200, "it asks for no more than before"


def test_one_account_cannot_buy_machines_without_end(world: World) -> None:
    """Two hundred of the dearest for ten years, a hundred times."""
    account, key = world.admit(AccountType.DEPLOYER)
    answers = list[int]()
    for number in range(100):
        body = {"datacenter": f"gcp:zone-{number}", "node_size": "llm", "min_warm_count": 200, "months": 120}
        answers.append(buy(world, account, key, **body).status_code)
        world.clock.now += BURST_SECONDS * timedelta(seconds=1)

    assert answers == [200] * 5 + [429] * 95
    assert stored(world, account) == 1000


def test_a_purchase_that_grows_shrinks_and_grows_again_counts_what_still_runs(world: World) -> None:
    limit(world, machines=4)
    account, key = deployer(world, "acme")
    buy(world, account, key, **POOL, min_warm_count=4)
    for order in alive(world):
        world.claim(order.id, lanes=[order.lane])
    assert buy(world, account, key, **POOL, min_warm_count=1).status_code == 200
    world.clock.now += MIN_RECOUNT_AGE

    answer = buy(world, account, key, **POOL, min_warm_count=4)

    assert answer.status_code == 429, "three machines are to stop, and run"
    assert len(alive(world)) == 4


def test_the_sweep_replaces_a_pools_machines_although_the_quotas_are_used_up(world: World) -> None:
    limit(world, machines=2, open_orders=2, creates_per_second=0.05)
    account, key = deployer(world, "acme")
    buy(world, account, key, **POOL, min_warm_count=2)
    assert create(world).status_code == 429
    for order in alive(world):
        fail(world, order)

    swept(world)

    assert len(alive(world)) == 2


def test_the_sweep_completes_a_batch_although_the_quota_is_used_up(world: World, failing: Failing) -> None:
    limit(world, open_orders=2)
    mend = failing(world.ports.store, "create", Unavailable("The store does not answer."))
    assert REPEATED["a batch"](world).status_code == 200
    mend()
    world.clock.now += LOW_COUNT_TTL  # the count says now that none was created
    for _ in range(2):
        assert create(world).status_code == 201
    assert create(world).status_code == 429

    world.sweep()

    assert [order.kind for order in alive(world)].count(OrderKind.EXPORT) == 1


def test_a_parent_that_exceeds_its_quota_is_resumed_later_and_keeps_nobody_from_the_sweep(world: World) -> None:
    limit(world, open_orders=2)
    child = job(world, "child", "boss")
    run(world, child)
    for _ in range(2):
        waiting = an_order()
        world.ports.store.create(waiting, a_key(waiting))
    world.clock.now += LOW_COUNT_TTL

    end(world, child)

    assert resumed(world, "boss") == []
    (mailbox,) = world.ports.parent_mailboxes.all(10)
    world.clock.now = mailbox.check_at + MIN_RECOUNT_AGE
    world.sweep()
    assert resumed(world, "boss") == []
    (mailbox,) = world.ports.parent_mailboxes.all(10)
    assert mailbox.check_at > world.clock.now, "the next sweep begins with others"
    ran(world, "other-child", "other-boss", key=STRANGER)
    assert len(resumed(world, "other-boss", "globex")) == 1
    world.post(f"/v1/orders/{waiting.id}/cancel")
    world.clock.now = mailbox.check_at + MIN_RECOUNT_AGE
    world.sweep()
    assert len(resumed(world, "boss")) == 1


class Counted(MemoryOrderStore):
    """Notes each count."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = 0

    def count(self, query: OrderQuery) -> int:
        self.counts += 1
        return super().count(query)

    def place(self, number: int) -> None:
        for _ in range(number):
            order = an_order()
            self.create(order, a_key(order))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Counted:
    return Counted()


def usage_of(store: MemoryOrderStore, clock: Clock, **quotas: Any) -> Usage:
    return Usage(store, MemoryRecords(), clock, replace(DEFAULT_QUOTAS, **quotas))


def test_orders_are_counted_once_in_a_while_and_more_often_near_the_quota(store: Counted, clock: Clock) -> None:
    usage = usage_of(store, clock, open_orders=100)
    for _ in range(49):
        usage.admit(Demand("acme"))
    assert store.counts == 1
    store.place(49)

    clock.now += COUNT_TTL
    usage.admit(Demand("acme"))
    assert store.counts == 1, "it is below half of the quota"
    clock.now += LOW_COUNT_TTL - COUNT_TTL
    usage.admit(Demand("acme"))
    assert store.counts == 2
    store.place(1)
    usage.admit(Demand("acme"))
    clock.now += COUNT_TTL
    usage.admit(Demand("acme"))
    assert store.counts == 3


def test_a_flood_beyond_the_quota_costs_one_count_a_second(store: Counted, clock: Clock) -> None:
    usage = usage_of(store, clock, open_orders=10)
    store.place(10)

    for _ in range(100):
        with pytest.raises(QuotaExceeded):
            usage.admit(Demand("acme"))
        clock.now += MIN_RECOUNT_AGE / 10

    assert store.counts == 10


def test_what_another_instance_created_is_noticed_within_the_age_of_a_count(store: Counted, clock: Clock) -> None:
    usage = usage_of(store, clock, open_orders=10)
    usage.admit(Demand("acme"))
    store.place(10)
    usage.admit(Demand("acme"))

    clock.now += LOW_COUNT_TTL

    with pytest.raises(QuotaExceeded, match="10 orders of this account have not ended"):
        usage.admit(Demand("acme"))


def test_a_used_up_quota_is_logged_once_a_minute_for_each_account(store: Counted, clock: Clock) -> None:
    usage = usage_of(store, clock, open_orders=1)
    with structlog.testing.capture_logs() as logs:
        for account in ("acme", "globex"):
            usage.admit(Demand(account))
        for _ in range(50):
            for account in ("acme", "globex"):
                with pytest.raises(QuotaExceeded):
                    usage.admit(Demand(account))
        clock.now = NOW + LOG_INTERVAL
        store.place(1)
        with pytest.raises(QuotaExceeded):
            usage.admit(Demand("acme"))

    assert [(line["event"], line["log_level"], line["quota"], line["used_by"]) for line in logs] == [
        (LogEvent.QUOTA_EXCEEDED, "warning", "open_orders", account) for account in ("acme", "globex", "acme")
    ]
