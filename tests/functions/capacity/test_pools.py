"""The capacity contract's pools, sections 3 and 5: targets, reconciliation, purchases, and the sweep's part."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from functions.adapters.memory import MemoryOrderStore
from functions.adapters.memory_records import MemoryRecords
from functions.apis.capacity.parts import DefaultPool
from functions.apis.capacity.reconciliation import reconcile as reconcile_pool
from functions.apis.capacity.reconciliation import see_to_pools
from functions.domain.access import ApiKey, Role, digest
from functions.domain.accounts import NOBODY, Account, AccountType
from functions.domain.agents import Agent
from functions.domain.events import Register
from functions.domain.order import Order
from functions.domain.pools import MOST_MACHINES, Pool, pool_id
from functions.domain.refusals import Unavailable
from functions.ports import IdempotencyKey, OrderQuery, Snapshot, Unreadable
from shared.domain.order import State
from shared.domain.spec import Attestation, NodeSize
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, World, by_id
from tests.threads import at_once

TARGETS = "/api/v1/admin/agents/capacity/targets"
RECONCILE = "/api/v1/admin/agents/capacity/reconcile"
DATACENTER = "gcp:us-central1-a"
PLACE = {"datacenter": DATACENTER, "node_size": "tiny"}
ID = pool_id(NOBODY, DATACENTER, "tiny")
LANE = "gcp:us-central1-a/capacity/tiny"
NO_DEMANDS = {"require_verified": False, "require_healthy": False, "require_hostname": False}


def put(world: World, body: Mapping[str, Any], key: str = ADMIN) -> TestResponse:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    return world.http.put(TARGETS, data=json.dumps(body), headers=headers)


def answer(response: TestResponse, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.get_json()
    return body


def refused(response: TestResponse, status: int) -> Any:
    assert response.content_type == "application/json"
    return answer(response, status)["detail"]


def aim(world: World, count: int = 2, **fields: Any) -> dict[str, Any]:
    return answer(put(world, {**PLACE, "min_warm_count": count, "dispatch": True, **NO_DEMANDS, **fields}))


def reconcile(world: World, **body: Any) -> dict[str, Any]:
    return answer(world.post(RECONCILE, body, ADMIN))


def listed(world: World) -> list[dict[str, Any]]:
    body = answer(world.get(TARGETS, ADMIN))
    assert body["total"] == len(body["targets"])
    targets: list[dict[str, Any]] = body["targets"]
    return targets


def swept(world: World, limit: int = 200) -> dict[str, int]:
    return dict(see_to_pools(world.app, world.clock.now, limit))


def test_the_sweep_fills_pools(world: World) -> None:
    aim(world, 2)
    done = world.sweep()
    assert (done["pools"], done["created"], done["released"]) == (1, 2, 0)
    assert [order.state for order in orders(world)] == [State.QUEUED] * 2


def orders(world: World, *states: State) -> list[Order]:
    return list(world.app.store.page(OrderQuery(states=frozenset(states), oldest_first=True, limit=500)).orders)


def alive(world: World) -> list[Order]:
    return [order for order in orders(world) if not order.final]


def run(world: World, order: Order, attended: bool = True) -> None:
    """Have a launcher take the order, and its machine come up."""
    assert world.post("/v1/claims", by_id(order.id, lanes=[LANE], attended=attended), LAUNCHER).get_json()["claimed"]
    assert world.update(order.id, "provisioning", order.epoch + 1, vm="vm-1").status_code == 200
    assert world.call_back(order.id, "started", order.epoch + 1).status_code == 200


def fail(world: World, order: Order) -> None:
    world.claim(order.id, lanes=[LANE])
    failure = {"reason": "image_rejected", "message": "no", "failure": "permanent"}
    assert world.update(order.id, "failed", order.epoch + 1, **failure).status_code == 200


def register(world: World, order: Order, agent_id: str = "agent-1", **changes: Any) -> None:
    now = world.clock.now
    agent = Agent(agent_id, f"vm-of-{agent_id}", DATACENTER, "tiny", "00", True, "1.0.0", now, now)
    world.app.capacity.agents.add(agent.vm_name, replace(agent, **changes))
    epoch = world.order(order.id).epoch
    world.app.store.apply(order.id, Register(agent_id, epoch, agent_id, agent.vm_name), now)


# --- targets -------------------------------------------------------------------------------------


def test_a_target_has_the_contracts_fields_and_defaults(world: World) -> None:
    target = answer(put(world, PLACE))
    assert target == {
        "account_id": None,
        **PLACE,
        "min_warm_count": 0,
        "enabled": True,
        "require_verified": True,
        "require_healthy": True,
        "require_hostname": True,
        "dispatch": False,
        "reason": "capacity-pool-controller",
        "attestation": "optional",
        "created_at": "2026-11-22T12:00:00Z",
        "updated_at": "2026-11-22T12:00:00Z",
        "eligible_agents": 0,
        "open_reservations": 0,
        "shortfall": 0,
        "surplus": 0,
    }
    assert listed(world) == [target]


def test_a_target_is_set_anew_in_its_place_however_that_is_written(world: World) -> None:
    aim(world, 2)
    world.clock.now += timedelta(minutes=1)
    body = {"datacenter": " Google:US-central1-a ", "node_size": " TINY ", "min_warm_count": 3, "unknown": 1}
    changed = answer(put(world, body))
    assert (changed["datacenter"], changed["node_size"]) == (DATACENTER, "tiny")
    assert (changed["min_warm_count"], changed["dispatch"], changed["shortfall"]) == (3, False, 3)
    assert (changed["created_at"], changed["updated_at"]) == ("2026-11-22T12:00:00Z", "2026-11-22T12:01:00Z")
    world.clock.now += timedelta(minutes=1)
    assert answer(put(world, body)) == changed
    assert listed(world) == [changed]


def test_a_target_without_a_size_is_refused(world: World) -> None:
    wrong = "Invalid node_size. Expected one of: tiny, standard, llm"
    for size in ("", "  ", "huge"):
        assert refused(put(world, {**PLACE, "node_size": size}), 422) == wrong
    assert refused(put(world, {"datacenter": "gcp:a"}), 422) == [
        {"type": "missing", "loc": ["body", "node_size"], "msg": "Field required"}
    ]
    assert listed(world) == []


@pytest.mark.parametrize("datacenter", ["gcp/us", ":", "gcp:a:b", "", "gcp:" + "a" * 97])
def test_a_target_of_no_datacenter_is_refused(world: World, datacenter: str) -> None:
    detail = refused(put(world, {**PLACE, "datacenter": datacenter}), 422)
    assert detail.startswith("Invalid datacenter. Expected '<cloud>:<zone>'")


@pytest.mark.parametrize("count", [-1, MOST_MACHINES + 1, 1_000_000, "many", None, 1.5])
def test_a_count_out_of_bounds_is_refused_by_its_name(world: World, count: object) -> None:
    (wrong,) = refused(put(world, {**PLACE, "min_warm_count": count}), 422)
    assert wrong["loc"] == ["body", "min_warm_count"]
    (wrong,) = refused(world.post(RECONCILE, {"targets": [{**PLACE, "min_count": count}]}, ADMIN), 422)
    assert wrong["loc"] == ["body", "targets", 0, "min_count"]


def test_targets_are_for_operators_only(world: World) -> None:
    deployer = world.admit(AccountType.DEPLOYER)[1]
    assert refused(world.http.get(TARGETS), 401) == "Missing Authorization header"
    assert refused(world.http.get(TARGETS, headers={"Authorization": "Bearer a b"}), 401) == (
        "Invalid Authorization header format. Expected: Bearer <token>"
    )
    for key in (deployer, CLIENT, LAUNCHER):
        assert refused(put(world, PLACE, key), 401) == "Invalid session token"
        assert refused(world.get(TARGETS, key), 401) == "Invalid session token"
        assert refused(world.post(RECONCILE, {}, key), 401) == "Invalid session token"
        assert refused(world.delete(f"{TARGETS}?datacenter=gcp:a&node_size=tiny", key), 401) == "Invalid session token"
    token, _ = world.app.capacity.sessions.open("an operator's password of tests", world.clock.now)
    assert answer(world.get(TARGETS, token))["total"] == 0


def test_a_target_that_is_removed_gives_its_machines_back_and_is_unknown_then(world: World) -> None:
    aim(world, 3)
    swept(world)
    first, second, third = orders(world)
    run(world, first)
    run(world, second, attended=False)
    path = f"{TARGETS}?datacenter=google:us-central1-a&node_size=tiny"

    removed = answer(world.delete(path, ADMIN))

    assert removed == {"status": "deleted", "account_id": None, **PLACE, "released": 2, "remaining": 1}
    assert world.order(first.id).cancel_requested_at is not None
    assert world.order(second.id).cancel_requested_at is None
    assert world.order(third.id).state is State.CANCELLED
    assert listed(world) == []
    assert refused(world.delete(path, ADMIN), 404) == "Capacity pool target not found"
    assert swept(world)["created"] == 0


def test_a_target_set_again_after_its_removal_counts_what_could_not_be_stopped(world: World) -> None:
    aim(world, 1)
    swept(world)
    run(world, orders(world)[0], attended=False)
    answer(world.delete(f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny", ADMIN))
    aim(world, 2)
    assert swept(world)["created"] == 1
    assert len(alive(world)) == 2


# --- the sweep -----------------------------------------------------------------------------------


def test_the_sweep_creates_what_is_missing_once_and_rings_for_it(world: World) -> None:
    aim(world, 2, reason="tests", attestation="required")
    assert swept(world) == {"pools": 1, "created": 2, "released": 0}
    assert swept(world)["created"] == 0
    placed = orders(world)
    assert len(placed) == 2
    for order in placed:
        assert (order.account, order.lane, order.limits.boot_seconds) == (NOBODY, LANE, 1800)
        assert order.spec.model_dump() == {"kind": "capacity", **PLACE, "attestation": "required", "purpose": "tests"}
    assert sorted(world.bells.rung) == sorted(order.id for order in placed)
    assert listed(world)[0]["open_reservations"] == 2


@pytest.mark.parametrize("fields", [{"enabled": False}, {"dispatch": False}])
def test_the_sweep_leaves_a_pool_alone_that_is_off_or_only_watched(world: World, fields: dict[str, bool]) -> None:
    aim(world, 2, **fields)
    assert swept(world).get("created", 0) == 0
    assert listed(world)[0]["shortfall"] == 2


def test_what_runs_is_not_ordered_again_before_its_guest_has_registered(world: World) -> None:
    aim(world, 2, require_verified=True)
    swept(world)
    for order in orders(world):
        run(world, order)
    for _ in range(10):
        assert swept(world)["created"] == 0
        done = reconcile(world, dispatch=True)
        assert (done["total_shortfall"], done["targets"][0]["in_flight"]) == (2, 0)
        (waits,) = done["dispatches"]
        assert (waits["dispatched"], waits["status_code"]) == (False, 200)
    assert len(orders(world)) == 2


def test_a_node_that_died_is_replaced_after_a_while(world: World) -> None:
    aim(world, 1)
    swept(world)
    (order,) = orders(world)
    fail(world, order)
    assert swept(world)["created"] == 1
    (again,) = alive(world)
    assert again.id != order.id
    assert again.available_at > world.clock.now
    assert again.id not in world.bells.rung


def test_surplus_is_released_and_what_nobody_can_stop_is_counted_and_kept(world: World) -> None:
    aim(world, 4)
    swept(world)
    watched, unwatched, waiting, taken = orders(world)
    run(world, watched)
    run(world, unwatched, attended=False)
    world.claim(taken.id, lanes=[LANE], attended=False)

    aim(world, 0)
    assert swept(world) == {"pools": 1, "created": 0, "released": 2}

    assert world.order(watched.id).cancel_requested_at is not None
    assert world.order(waiting.id).state is State.CANCELLED
    assert world.order(unwatched.id).cancel_requested_at is None
    assert world.order(taken.id).cancel_requested_at is None
    assert listed(world)[0]["surplus"] == 2
    assert [one["order_id"] for one in world.heartbeat((watched.id, 1))["stop"]] == [watched.id]


def test_of_many_sweeps_at_once_one_order_a_place_comes(world: World) -> None:
    aim(world, 20)
    at_once([lambda: swept(world)] * 6)
    assert len(orders(world)) == 20
    aim(world, 5)
    at_once([lambda: swept(world)] * 6)
    assert len(alive(world)) == 5
    assert swept(world)["created"] == 0


def test_what_was_decided_meanwhile_stands_against_a_sweep_that_read_the_pool_before(world: World) -> None:
    aim(world, 2)
    before = world.app.capacity.pools.get(ID)
    assert before is not None
    aim(world, 1, reason="less")
    reconcile_pool(before, world.app)
    assert len(alive(world)) == 1
    assert (listed(world)[0]["min_warm_count"], listed(world)[0]["reason"]) == (1, "less")

    fail(world, alive(world)[0])
    before = world.app.capacity.pools.get(ID)
    assert before is not None
    answer(world.delete(f"{TARGETS}?datacenter={DATACENTER}&node_size=tiny", ADMIN))
    reconcile_pool(before, world.app)
    assert alive(world) == []
    assert listed(world) == []


def test_one_bad_pool_keeps_no_other_from_being_seen_to(world: World) -> None:
    aim(world, 1)
    world.app.capacity.pools.change(ID, lambda pool: replace(pool, node_size="huge"))
    aim(world, 1, node_size="llm")
    assert swept(world)["created"] == 1
    assert [order.lane for order in orders(world)] == ["gcp:us-central1-a/capacity/llm"]


def test_where_there_are_more_pools_than_a_sweep_sees_to_each_comes_in_time(world: World) -> None:
    for number in range(12):
        aim(world, 1, datacenter=f"gcp:zone-{number}")
    for _ in range(60):
        assert swept(world, limit=3)["pools"] == 3
        world.clock.now += timedelta(seconds=30)
    assert len(orders(world)) == 12


def test_the_default_pool_is_made_once_where_it_is_wanted(world: World) -> None:
    assert swept(world) == {}
    default = DefaultPool("gcp:us-central1-a", NodeSize.TINY, 1)
    object.__setattr__(world.app, "capacity", replace(world.app.capacity, default_pool=default))
    assert swept(world)["created"] == 1
    (target,) = listed(world)
    assert (target["min_warm_count"], target["enabled"], target["dispatch"]) == (1, True, True)
    answer(world.delete(f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny", ADMIN))
    swept(world)
    assert listed(world) == []


# --- crashes, and what it costs ------------------------------------------------------------------


class Faulty(MemoryOrderStore):
    """A store that fails to create while it is told to, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.asked: list[str] = []

    def create(self, order: Order, key: IdempotencyKey) -> Snapshot:
        self.asked.append("create")
        if self.failing:
            raise Unavailable("The store does not answer.")
        return super().create(order, key)

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Snapshot | Unreadable]:
        self.asked.append("get_many")
        return super().get_many(order_ids)


class Counted(MemoryRecords[Pool]):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, id_: str) -> Pool | None:
        self.asked.append("get")
        return super().get(id_)

    def change(self, id_: str, change: Callable[[Pool], Pool]) -> Pool:
        self.asked.append("change")
        return super().change(id_, change)


@pytest.fixture
def store(world: World) -> Faulty:
    store = Faulty()
    object.__setattr__(world.app, "store", store)
    return store


@pytest.fixture
def records(world: World) -> Counted:
    records = Counted()
    object.__setattr__(world.app, "capacity", replace(world.app.capacity, pools=records))
    return records


def test_orders_that_were_recorded_and_not_created_are_created_by_the_next(world: World, store: Faulty) -> None:
    aim(world, 3)
    store.failing = True
    assert swept(world)["created"] == 0
    assert listed(world)[0]["open_reservations"] == 3
    planned = world.app.capacity.pools.get(ID)

    store.failing = False
    assert swept(world)["created"] == 3
    assert world.app.capacity.pools.get(ID) == planned
    assert len(orders(world)) == 3


def test_a_released_order_that_was_never_created_does_not_come_to_life_later(world: World, store: Faulty) -> None:
    aim(world, 1)
    store.failing = True
    swept(world)
    store.failing = False
    aim(world, 0)
    swept(world)
    assert [order.state for order in orders(world)] == [State.CANCELLED]
    assert world.bells.asked == []
    swept(world)
    pool = world.app.capacity.pools.get(ID)
    assert pool is not None
    assert pool.members == ()


def test_a_place_whose_order_was_removed_gets_another(world: World) -> None:
    aim(world, 1)
    swept(world)
    (order,) = orders(world)
    world.post(f"/v1/orders/{order.id}/cancel", key=ADMIN)
    world.app.store.remove(order.id)
    swept(world)
    swept(world)
    (again,) = alive(world)
    assert again.id != order.id


def test_a_released_place_whose_order_was_removed_gets_no_other(world: World) -> None:
    aim(world, 1)
    swept(world)
    (order,) = orders(world)
    answer(world.delete(f"{TARGETS}?datacenter={DATACENTER}&node_size=tiny", ADMIN))
    assert world.delete(f"/v1/orders/{order.id}", ADMIN).status_code == 204
    for _ in range(3):
        assert swept(world).get("created", 0) == 0
    assert orders(world) == []


def test_a_pool_at_rest_costs_two_reads_and_no_write(world: World, store: Faulty, records: Counted) -> None:
    aim(world, 2)
    swept(world)
    for order in orders(world):
        run(world, order)
    store.asked.clear()
    records.asked.clear()

    swept(world)  # the record came with the list of all
    assert (store.asked, records.asked) == (["get_many"], [])

    store.asked.clear()
    body = reconcile(world, targets=[{**PLACE, "min_count": 2}], dispatch=True, **NO_DEMANDS)
    assert body["eligible"] is True
    assert (store.asked, records.asked) == (["get_many"], ["get"])


# --- reconcile -----------------------------------------------------------------------------------


def test_a_reconciliation_without_dispatch_only_says_what_is_missing(world: World) -> None:
    assert reconcile(world) == {"eligible": True, "total_shortfall": 0, "targets": [], "dispatches": []}
    aim(world, 2)
    assert reconcile(world) == {
        "eligible": False,
        "total_shortfall": 2,
        "targets": [
            {
                "account_id": None,
                **PLACE,
                "min_count": 2,
                "eligible_count": 0,
                "shortfall": 2,
                "eligible_agent_ids": [],
                "in_flight": 0,
                "surplus": 0,
            }
        ],
        "dispatches": [],
    }
    assert orders(world) == []


def test_with_dispatch_what_is_missing_is_ordered_and_202_says_that_it_is_in_flight(world: World) -> None:
    aim(world, 2, dispatch=False)
    body = reconcile(world, dispatch=True)
    assert body["dispatches"] == [
        {
            **PLACE,
            "requested_count": 2,
            "dispatched": True,
            "status_code": 202,
            "detail": "2 launch orders in flight",
        }
    ]
    assert reconcile(world, dispatch=True) == body
    assert len(orders(world)) == 2


def test_targets_that_are_off_are_left_out(world: World) -> None:
    aim(world, 2, enabled=False)
    assert reconcile(world, dispatch=True)["targets"] == []


def test_an_explicit_target_is_filled_once_and_becomes_no_standing_one(world: World) -> None:
    wanted = [{**PLACE, "min_count": 2}]
    assert reconcile(world, targets=wanted)["total_shortfall"] == 2
    assert orders(world) == []
    body = reconcile(world, targets=wanted, dispatch=True, reason="a rush")
    assert (body["eligible"], body["dispatches"][0]["status_code"]) == (False, 202)
    assert [order.spec.model_dump()["purpose"] for order in orders(world)] == ["a rush", "a rush"]
    assert listed(world) == []
    swept(world)
    assert len(alive(world)) == 2
    first = orders(world)[0]
    fail(world, first)
    swept(world)
    assert len(alive(world)) == 1
    removed = answer(world.delete(f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny", ADMIN))
    assert removed["released"] == 1
    assert alive(world) == []


def test_an_explicit_target_is_refused_where_it_names_no_place(world: World) -> None:
    wrong = [{**PLACE, "min_count": 1}, {"datacenter": "gcp:a", "node_size": "", "min_count": 1}]
    detail = refused(world.post(RECONCILE, {"targets": wrong, "dispatch": True}, ADMIN), 422)
    assert detail == "Invalid node_size. Expected one of: tiny, standard, llm"
    assert orders(world) == []
    many = [{**PLACE, "min_count": 1}] * 101
    assert refused(world.post(RECONCILE, {"targets": many}, ADMIN), 422)[0]["loc"] == ["body", "targets"]
    assert refused(world.post(RECONCILE, None, ADMIN), 422)[0]["type"] == "missing"


def test_what_counts_depends_on_what_is_required(world: World) -> None:
    aim(world, 2, require_verified=True, require_healthy=True, require_hostname=True)
    swept(world)
    one, other = orders(world)
    run(world, one)
    run(world, other)
    assert reconcile(world)["targets"][0]["eligible_count"] == 0
    assert reconcile(world, require_verified=False)["eligible"] is True

    register(world, one, "agent-1")
    register(world, other, "agent-2", verified=False)
    (target,) = reconcile(world)["targets"]
    assert (target["eligible_count"], target["shortfall"], target["eligible_agent_ids"]) == (1, 1, ["agent-1"])
    assert listed(world)[0]["eligible_agents"] == 1

    world.clock.now += timedelta(hours=2, minutes=6)
    assert reconcile(world)["targets"][0]["eligible_count"] == 0


def test_an_answer_about_fewer_pools_than_there_are_is_none(world: World, store: Faulty) -> None:
    aim(world, 1)
    world.app.capacity.pools.change(ID, lambda pool: replace(pool, node_size="huge"))
    body = reconcile(world, dispatch=True)
    assert body["targets"][0]["in_flight"] == 1

    def broken(order_ids: Collection[str]) -> Mapping[str, Snapshot | Unreadable]:
        raise Unavailable("The store does not answer.")

    store.get_many = broken  # type: ignore[method-assign]
    assert refused(world.post(RECONCILE, {}, ADMIN), 503)


# --- purchases -----------------------------------------------------------------------------------


def buy(world: World, account: str, key: str, **body: Any) -> TestResponse:
    return world.post(f"/api/v1/accounts/{account}/capacity/request", body, key)


def test_a_purchase_sets_the_accounts_target_orders_what_is_missing_and_charges_nothing(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    bought = answer(buy(world, account, key, datacenter="onprem:rack-7"))

    assert bought["request_id"].startswith("capacity-")
    assert len(bytes.fromhex(bought["request_id"].removeprefix("capacity-"))) == 8
    assert bought["transaction_id"].startswith("sim-")
    assert UUID(bought["transaction_id"].removeprefix("sim-"))
    assert (bought["charged_amount_usd"], bought["balance_after"]) == (25.0, 0.0)
    target = bought["target"]
    assert (target["account_id"], target["datacenter"], target["node_size"]) == (account, "baremetal:rack-7", "tiny")
    assert (target["min_warm_count"], target["reason"], target["dispatch"]) == (1, "capacity-purchase", True)
    assert (target["open_reservations"], target["shortfall"]) == (1, 1)
    assert bought["capacity"]["total_shortfall"] == 1
    assert bought["capacity"]["dispatches"][0]["status_code"] == 202
    (order,) = orders(world)
    assert order.account == account
    mine = answer(world.get(f"/api/v1/accounts/{account}/capacity/orders", key))["orders"]
    assert [(one["order_id"], one["account_id"], one["reason"]) for one in mine] == [
        (order.id, account, "capacity-purchase")
    ]


@pytest.mark.parametrize(
    ("size", "count", "months", "usd"), [("tiny", 2, 3, 150.0), ("standard", 1, 2, 200.0), ("llm", 3, 1, 1500.0)]
)
def test_a_purchase_costs_its_size_by_count_and_months(
    world: World, size: str, count: int, months: int, usd: float
) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    wanted = {"datacenter": "gcp:a", "node_size": size, "min_warm_count": count, "months": months}
    bought = answer(buy(world, account, key, **wanted))
    assert bought["charged_amount_usd"] == usd
    assert len(orders(world)) == count


def test_the_same_purchase_twice_is_one_target_and_no_more_orders(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    at_once([lambda: buy(world, account, key, datacenter="gcp:a", min_warm_count=3)] * 4)
    answer(buy(world, account, key, datacenter="gcp:a", min_warm_count=3))
    assert len(orders(world)) == 3
    assert [target["account_id"] for target in listed(world)] == [account]


def test_a_purchase_that_the_accounts_deletion_overtakes_orders_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    pools, upsert = world.app.capacity.pools, world.app.capacity.pools.upsert

    def overtaken(id_: str, pool: Pool, change: Callable[[Pool], Pool]) -> Pool:
        answer(world.delete(f"/api/v1/accounts/{account}", key))
        return upsert(id_, pool, change)

    monkeypatch.setattr(pools, "upsert", overtaken)

    assert refused(buy(world, account, key, **PLACE), 404) == "Account not found"
    world.sweep()
    assert (listed(world), orders(world)) == ([], [])


def test_a_purchase_in_the_midst_of_the_accounts_deletion_is_given_up_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    accounts, take = world.app.capacity.accounts, world.app.capacity.accounts.take
    bought = list[int]()

    def after_a_purchase(id_: str, which: Callable[[Account], bool]) -> Account | None:
        _, another = world.admit(AccountType.DEPLOYER)
        world.app.keys.add(ApiKey(digest(another), Role.CLIENT, account, revocable=True))  # that was checked before
        bought.append(buy(world, account, another, **PLACE).status_code)
        return take(id_, which)

    monkeypatch.setattr(accounts, "take", after_a_purchase)

    answer(world.delete(f"/api/v1/accounts/{account}", key))

    assert bought == [200]
    assert (listed(world), alive(world)) == ([], [])


def test_pools_of_two_accounts_in_one_place_are_two(world: World) -> None:
    aim(world, 1)
    swept(world)
    account, key = world.admit(AccountType.DEPLOYER)
    answer(buy(world, account, key, **PLACE))
    assert sorted(order.account for order in orders(world)) == sorted([NOBODY, account])
    path = f"{TARGETS}?datacenter=gcp:us-central1-a&node_size=tiny&account_id={account}"
    assert answer(world.delete(path, ADMIN))["account_id"] == account
    assert [order.account for order in alive(world)] == [NOBODY]


def test_capacity_is_for_deployers_and_for_their_own_account(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    for account_type in (AccountType.LAUNCHER, AccountType.AGENT, AccountType.CONTRIBUTOR):
        other, wrong = world.admit(account_type)
        assert refused(buy(world, other, wrong, datacenter="gcp:a"), 403) == "Deployer API key required"
    _, another = world.admit(AccountType.DEPLOYER)
    detail = refused(buy(world, account, another, datacenter="gcp:a"), 403)
    assert detail == "Cannot request capacity for other accounts"
    assert refused(buy(world, account, "", datacenter="gcp:a"), 401) == "Missing Authorization header"
    assert refused(buy(world, account, "ee_live_x", datacenter="gcp:a"), 401) == "Invalid API key"
    assert refused(buy(world, "no id!", key, datacenter="gcp:a"), 404) == "Account not found"
    assert orders(world) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_warm_count", 0),
        ("min_warm_count", 1_000_000),
        ("months", 0),
        ("months", 1_000_000),
        ("reason", "x" * 201),
        ("datacenter", None),
        ("node_size", 7),
    ],
)
def test_a_wrong_purchase_is_refused_by_its_fields_name(world: World, field: str, value: object) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    body = {"datacenter": "gcp:a", field: value}
    (wrong,) = refused(buy(world, account, key, **body), 422)
    assert wrong["loc"] == ["body", field]


def test_a_purchase_of_no_size_or_place_is_refused(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    assert refused(buy(world, account, key, datacenter="gcp:a", node_size=""), 422) == (
        "Invalid node_size. Expected one of: tiny, standard, llm"
    )
    assert refused(buy(world, account, key, datacenter="!"), 422).startswith("Invalid datacenter.")
    assert refused(buy(world, account, key), 422)[0]["loc"] == ["body", "datacenter"]


def test_an_account_has_pools_in_so_many_places_and_no_more(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    for number in range(100):
        answer(buy(world, account, key, datacenter=f"gcp:zone-{number}"))
    assert "at most 100 places" in refused(buy(world, account, key, datacenter="gcp:one-more"), 422)
    answer(buy(world, account, key, datacenter="gcp:zone-7", min_warm_count=2))


def test_the_longest_name_of_a_datacenter_is_one_that_can_be_ordered_for(world: World) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    answer(buy(world, account, key, datacenter=f"{'c' * 32}:{'z' * 96}"))
    assert len(orders(world)) == 1


def test_what_pools_demand_that_say_nothing_of_it_is_the_deployments(world: World) -> None:
    capacity = replace(world.app.capacity, attestation=Attestation.REQUIRED)
    object.__setattr__(world.app, "capacity", capacity)
    account, key = world.admit(AccountType.DEPLOYER)
    assert answer(buy(world, account, key, datacenter="gcp:a"))["target"]["attestation"] == "required"
    assert answer(put(world, PLACE))["attestation"] == "required"
    assert answer(put(world, {**PLACE, "attestation": "optional"}))["attestation"] == "optional"


# --- junk ----------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        *("datacenter", "node_size", "min_warm_count", "min_count", "months", "reason", "targets", "dispatch"),
        *("enabled", "require_verified", "attestation", "account_id"),
    ]
)
LIKELY = st.sampled_from(["gcp:a", "tiny", "", "*", "-", 1, 0, -1, True, None, "required", "\x00", "\ud800", 1e308])
JUNK = st.recursive(
    LIKELY | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JUNK | st.dictionaries(NAMES, JUNK, max_size=10))
def test_no_junk_of_a_caller_is_a_fault_of_ours(world: World, body: object) -> None:
    account, key = world.admit(AccountType.DEPLOYER)
    answers = [
        world.http.put(TARGETS, data=json.dumps(body), headers={"Authorization": f"Bearer {ADMIN}"}),
        world.post(RECONCILE, body, ADMIN),
        world.post(f"/api/v1/accounts/{account}/capacity/request", body, key),
    ]
    assert {response.status_code for response in answers} <= {200, 422}, [one.text for one in answers]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.dictionaries(NAMES, st.text(max_size=200), max_size=4))
def test_no_junk_in_a_query_is_a_fault_of_ours(world: World, query: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    response = world.http.delete(TARGETS, query_string=query, headers=headers)
    assert response.status_code in (404, 422), response.text
