"""A deployment that is rolled out, or back: what this version cannot read is asked for again, and stops no other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, cast

import pytest
from google.cloud.firestore import Client

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.firestore_keys import FirestoreKeyStore
from functions.adapters.memory import MemoryOrderStore
from functions.adapters.records import FirestoreRecords
from functions.apis import EVERYTHING
from functions.domain import request_ids
from functions.domain.access import digest
from functions.domain.accounts import NOBODY, Account, AccountType, Enrolment
from functions.domain.agents import Agent, SpentProof
from functions.domain.pools import Pool
from functions.engine import lane_reader
from functions.engine.candidates import Candidates
from shared.domain.order import State
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.factories import CAPACITY, NOW, TASK, a_key, an_order
from tests.functions.world import ADMIN, CLIENT, KEYS, LAUNCHER, World, by_id
from tests.later_version import InFirestore, InMemory, LaterVersion

AT_ONCE: Final = 10
MANY: Final = 4 * AT_ONCE
"""More orders than a claim reads at once here, or a sweep."""
TARGETS: Final = "/api/v1/admin/agents/capacity/targets"
RECORDS: Final[dict[str, type[Any]]] = {
    "accounts": Account,
    "enrolments": Enrolment,
    "pools": Pool,
    "spent_proofs": SpentProof,
    "agents": Agent,
}


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def later(request: pytest.FixtureRequest, world: World) -> LaterVersion:
    """The world's stores are memory's, or Firestore's."""
    if request.param == "memory":
        _furnish(world)
        return InMemory()
    client: Client = request.getfixturevalue("firestore_client")
    keys = FirestoreKeyStore(client)
    for key in KEYS:
        keys.add(key)
    records: dict[str, Any] = {name: FirestoreRecords(client, name, kind) for name, kind in RECORDS.items()}
    world.ports = replace(world.ports, store=FirestoreOrderStore(client), keys=keys, **records)
    _furnish(world)
    return InFirestore(client)


def _furnish(world: World) -> None:
    store = world.ports.store
    oldest = Candidates(store, pause=timedelta(), oldest_first=True)
    world.ports = replace(world.ports, any_order=Candidates(store, pause=timedelta()), oldest_first=oldest)


def plant(world: World, later: LaterVersion, number: int, **changes: Any) -> list[str]:
    """Store this number of orders as a later version would, and return their ids."""

    def one(_: int) -> str:
        order = an_order(now=NOW - timedelta(minutes=1), **changes)
        world.ports.store.create(order, a_key(order))
        later.order(world.ports.store, order.id)
        return order.id

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(number)))


BY_ORDER: Final[dict[str, tuple[str, Callable[[World, str], Any]]]] = {
    "GET /v1/orders/{order_id}": (CLIENT, lambda _world, _id: None),
    "POST /v1/orders/{order_id}/cancel": (CLIENT, lambda _world, _id: None),
    "GET /v1/orders/{order_id}/output": (CLIENT, lambda _world, _id: None),
    "POST /v1/orders/{order_id}/requeue": (CLIENT, lambda _world, _id: None),
    "DELETE /v1/orders/{order_id}": (CLIENT, lambda _world, _id: None),
    "POST /v1/claims": (LAUNCHER, lambda _world, order_id: by_id(order_id)),
    "POST /v1/updates/{order_id}": (
        LAUNCHER,
        lambda _world, _id: {
            "status": "provisioning",
            "request_id": "request-1",
            "launcher": "alpha",
            "epoch": 1,
            "vm": "vm-1",
        },
    ),
    "POST /v1/environments/{order_id}": (LAUNCHER, lambda _world, _id: {"launcher": "alpha", "epoch": 1}),
    "POST /v1/callbacks/{order_id}": ("", lambda _world, _id: {"event": "started", "epoch": 1}),
    "POST /api/v1/launchers/capacity/orders/{order_id}": (LAUNCHER, lambda _world, _id: {"status": "provisioning"}),
}
"""Each route that names an order: by whose key, and with what body."""


def test_the_table_has_every_route_that_names_an_order() -> None:
    named = {f"{route.method} {route.path}" for route in EVERYTHING if "{order_id}" in route.path}
    assert named | {"POST /v1/claims"} == set(BY_ORDER)


@pytest.mark.parametrize("route", BY_ORDER)
def test_a_request_about_an_order_of_a_later_version_answers_try_again(
    world: World, later: LaterVersion, route: str
) -> None:
    """Never 404, 403 or 204: a worker would end, a client take it for lost, or for removed."""
    order_id = world.place(CAPACITY)["id"]
    later.order(world.ports.store, order_id)
    (method, path), (key, body) = route.split(), BY_ORDER[route]
    headers = {"Authorization": f"Bearer {key or world.ports.tokens.issue(order_id, 1)}"}

    answer = world.http.open(path.format(order_id=order_id), method=method, json=body(world, order_id), headers=headers)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
    assert "another version" in answer.text
    if path.startswith("/v1/"):  # a launcher is to know that this is of the order alone
        assert answer.get_json()["type"] == "urn:launchyard:problem:other_version"
    assert world.get("/v1/orders").get_json() == {"orders": [], "next": None}


def test_a_create_whose_order_a_later_version_changed_answers_try_again(world: World, later: LaterVersion) -> None:
    later.order(world.ports.store, world.place(idempotency_key="one")["id"])

    body, headers = {"order": TASK.model_dump(mode="json")}, {"Idempotency-Key": "one"}
    assert world.post("/v1/orders", body, headers=headers).status_code == 503


def test_a_requeue_whose_successor_a_later_version_changed_answers_try_again(world: World, later: LaterVersion) -> None:
    dead = world.place()["id"]
    world.post(f"/v1/orders/{dead}/cancel")
    later.order(world.ports.store, world.post(f"/v1/orders/{dead}/requeue").get_json()["id"])

    assert world.post(f"/v1/orders/{dead}/requeue").status_code == 503


def test_a_worker_reaches_the_order_again_once_a_newer_instance_answers(world: World, later: LaterVersion) -> None:
    """In a roll-out, no instance refuses the report for good, so it is repeated, and the attempt continues."""
    order_id = world.place()["id"]
    world.claim(order_id)
    later.order(world.ports.store, order_id)

    assert world.call_back(order_id, "started").status_code == 503
    assert world.heartbeat((order_id, 1)) == {"renewed": [], "stop": []}
    _readable_again(world, order_id)
    assert world.call_back(order_id, "started").get_json()["state"] == "running"
    assert (world.order(order_id).attempt, world.order(order_id).epoch) == (1, 1)


def _readable_again(world: World, order_id: str) -> None:
    store: object = world.ports.store
    if isinstance(store, MemoryOrderStore):
        store.unreadable.remove(order_id)
    elif isinstance(store, FirestoreOrderStore):
        store._orders.document(order_id).update({"reason": None})


def test_claims_continue_behind_more_such_orders_than_they_read_at_once(
    world: World, later: LaterVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_reader, "READ_AT_ONCE", AT_ONCE)
    plant(world, later, MANY)
    order_id, machine = world.place()["id"], world.place(CAPACITY)["id"]
    plant(world, later, MANY, spec=CAPACITY)

    claimed = world.claim_next(lanes=["any/task"])
    assert claimed is not None
    assert claimed["order_id"] == order_id
    worker = world.admit(AccountType.LAUNCHER)[1]
    answer = world.post("/api/v1/launchers/capacity/orders/claim", {}, worker).get_json()
    assert answer["order"]["order_id"] == machine


def test_a_sweep_continues_behind_many_such_orders_and_reports_whether_there_are_more(
    world: World, later: LaterVersion
) -> None:
    plant(world, later, MANY, state=State.CLAIMED, due_at=NOW - timedelta(days=1))
    held = world.place()["id"]
    world.claim(held)
    world.clock.now += timedelta(minutes=2)

    answer = world.sweep(limit=AT_ONCE)

    assert (answer["requeued"], answer["more"]) == (1, False)
    assert world.order(held).state is State.QUEUED


def test_a_list_has_every_order_that_can_be_read(world: World, later: LaterVersion) -> None:
    ids = [world.place()["id"] for _ in range(12)]
    for order_id in ids[:-1:3]:
        later.order(world.ports.store, order_id)
    found, after = set[str](), cast("str | None", "")
    while after is not None:
        page = world.get(f"/v1/orders?limit=4{after and f'&after={after}'}").get_json()
        found |= {order["id"] for order in page["orders"]}
        after = page["next"]
    assert found == set(ids) - set(ids[:-1:3])


def test_a_launcher_renews_readable_orders_and_need_not_stop_the_others(world: World, later: LaterVersion) -> None:
    ids = [world.place()["id"] for _ in range(2)]
    for order_id in ids:
        world.claim(order_id)
    later.order(world.ports.store, ids[0])

    answer = world.heartbeat(*((order_id, 1) for order_id in ids))

    assert ([one["order_id"] for one in answer["renewed"]], answer["stop"]) == ([ids[1]], [])
    holds = world.get("/v1/holds?launcher=alpha", LAUNCHER).get_json()["holds"]
    assert [one["order_id"] for one in holds] == [ids[1]]


def aim(world: World, datacenter: str, count: int = 2) -> None:
    body = {"datacenter": datacenter, "node_size": "tiny", "min_warm_count": count, "dispatch": True}
    answer = world.http.put(TARGETS, json=body, headers={"Authorization": f"Bearer {ADMIN}"})
    assert answer.status_code == 200, answer.text


def test_a_pool_keeps_the_slot_of_an_order_of_a_later_version_and_fills_the_others(
    world: World, later: LaterVersion
) -> None:
    aim(world, "gcp:a")
    world.sweep()
    first = world.get("/v1/orders", ADMIN).get_json()["orders"][0]["id"]
    later.order(world.ports.store, first)
    aim(world, "gcp:a", 3)

    assert world.sweep()["created"] == 1
    assert world.sweep()["created"] == 0
    (target,) = world.get(TARGETS, ADMIN).get_json()["targets"]
    assert target["open_reservations"] == 3


def test_a_pool_of_a_later_version_does_not_stop_others_from_being_filled(world: World, later: LaterVersion) -> None:
    for datacenter in ("gcp:a", "gcp:b"):
        aim(world, datacenter)
    ours = request_ids.pool(NOBODY, "gcp:a", "tiny")
    later.record(world.ports.pools, "pools", ours, "members")

    assert world.sweep()["created"] == 2
    assert len(world.get(TARGETS, ADMIN).get_json()["targets"]) == 1
    headers = {"Authorization": f"Bearer {ADMIN}"}
    removed = world.http.delete(f"{TARGETS}?datacenter=gcp:a&node_size=tiny", headers=headers)
    assert removed.status_code == 503


BY_ACCOUNT: Final = {
    "GET /api/v1/accounts/{account_id}": None,
    "POST /api/v1/accounts/{account_id}/api-key/rotate": None,
    "POST /api/v1/accounts/{account_id}/capacity/request": {"datacenter": "gcp:a"},
    "DELETE /api/v1/accounts/{account_id}": None,
}


@pytest.mark.parametrize("route", BY_ACCOUNT)
def test_a_request_about_an_account_of_a_later_version_answers_try_again(
    world: World, later: LaterVersion, route: str
) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER, "one")
    other, _ = world.admit(AccountType.DEPLOYER, "other")
    later.record(world.ports.accounts, "accounts", "one", "name")
    method, path = route.split()

    answer = world.http.open(
        path.format(account_id=account_id),
        method=method,
        json=BY_ACCOUNT[route],
        headers={"Authorization": f"Bearer {key}"},
    )

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
    assert world.ports.keys.find(digest(key)) is not None
    listed = world.get("/api/v1/accounts", ADMIN).get_json()["accounts"]
    assert [account["account_id"] for account in listed] == [other]


def test_an_account_one_of_whose_pools_a_later_version_wrote_is_not_deleted_and_keeps_its_key(
    world: World, later: LaterVersion
) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER)
    world.post(f"/api/v1/accounts/{account_id}/capacity/request", {"datacenter": "gcp:a"}, key)
    later.record(world.ports.pools, "pools", request_ids.pool(account_id, "gcp:a", "tiny"), "members")

    assert world.delete(f"/api/v1/accounts/{account_id}", key).status_code == 503
    assert world.get(f"/api/v1/accounts/{account_id}", key).status_code == 200


def test_agents_of_a_later_version_are_asked_for_again_and_left_out_of_lists(world: World, later: LaterVersion) -> None:
    for name in ("one", "other"):
        agent = Agent(name, f"vm-{name}", "gcp:a", "tiny", "00", "1", NOW, NOW)
        world.ports.agents.add(agent.vm_name, agent)
    later.record(world.ports.agents, "agents", "vm-one", "version")

    assert world.delete("/api/v1/agents/one", ADMIN).status_code == 503
    assert [one["agent_id"] for one in world.get("/api/v1/agents", ADMIN).get_json()["agents"]] == ["other"]
    world.clock.now += timedelta(days=1)
    assert world.sweep()["records_forgotten"] == 1


@pytest.mark.parametrize(("path", "key"), [("/v1/orders", CLIENT), ("/api/v1/accounts", ADMIN)])
def test_a_key_of_a_later_version_does_not_count_as_unknown(
    world: World, later: LaterVersion, path: str, key: str
) -> None:
    store = getattr(world.ports.keys, "_store", world.ports.keys)
    later.key(store, digest(key))

    assert world.get(path, key).status_code == 503
