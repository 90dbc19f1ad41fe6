"""Deleting an account ends what its launchers hold, what their workers' tokens reach, and what it has ordered."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from google.cloud.firestore import Client

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.memory import MemoryOrderStore
from functions.domain.accounts import AccountType
from functions.domain.batches import Batch, BatchMember
from functions.domain.limits import OrderLimits
from functions.domain.order import LAPSED_CLAIM_VALID
from functions.domain.parent_notices import Mailbox, Notice, mailbox_id
from functions.domain.pools import Pool
from functions.domain.timing import STOP_PATIENCE
from functions.engine import account_removals
from functions.ports.orders import MAX_HELD
from shared.domain.order import State
from shared.domain.spec import ExportOptions
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.factories import CAPACITY, NOW, SESSION, a_claim, a_key, an_order
from tests.functions.capacity.orders import GCP, claim, lapse, place, report, reported
from tests.functions.jobs import client as jobs
from tests.functions.world import ADMIN, FirstFitting, World, by_id
from tests.meanwhile import Failing, Meanwhile

UPLOAD: Final[dict[str, Any]] = {"file_name": "a.txt", "content_type": "text/plain", "size": 1, "sha256": "0" * 64}
ACCOUNTS: Final = "/api/v1/accounts"


class Died(Exception):
    """The process ended here."""


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def stores(request: pytest.FixtureRequest, world: World) -> None:
    """Have the orders in each of the stores."""
    if request.param == "firestore":
        client: Client = request.getfixturevalue("firestore_client")
        store = FirestoreOrderStore(client)
        first_fitting = FirstFitting(store)
        world.ports = replace(world.ports, store=store, any_order=first_fitting, oldest_first=first_fitting)


def delete(world: World, account_id: str, key: str = ADMIN) -> None:
    answer = world.delete(f"{ACCOUNTS}/{account_id}", key)
    assert (answer.status_code, answer.get_json()) == (200, {"status": "deleted", "account_id": account_id})


def upload(world: World, order_id: str, epoch: int = 1) -> int:
    return world.call_back(order_id, "upload", epoch, **UPLOAD).status_code


def run_the_sweep(world: World, after: timedelta = account_removals.FIRST_CHECK_DELAY) -> None:
    world.clock.now += after + timedelta(seconds=1)
    world.sweep()


def states(world: World, *order_ids: str) -> list[State]:
    return [world.order(order_id).state for order_id in order_ids]


# --- launchers --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stores")
def test_the_token_of_a_deleted_launchers_worker_reaches_nothing_once_the_answer_is_sent(world: World) -> None:
    account_id, key = world.admit(AccountType.LAUNCHER)
    order_id = world.place()["id"]
    assert world.claim(order_id, key, attended=False) is not None
    assert world.call_back(order_id, "started").status_code == 200
    assert upload(world, order_id) == 200

    delete(world, account_id)

    assert upload(world, order_id) == 409
    completed = world.call_back(order_id, "completed", metrics={}, **UPLOAD)
    assert (completed.status_code, completed.get_json()["type"]) == (409, "urn:launchyard:problem:lease_lost")
    order = world.order(order_id)
    assert (order.state, order.attempt, order.message) == (State.QUEUED, 0, "The account of its launcher was deleted.")
    held = world.claim(order_id)
    assert held is not None
    assert held["epoch"] == 2


@pytest.mark.usefixtures("stores")
def test_what_a_deleted_launcher_holds_under_any_name_is_given_back_and_nothing_of_another_account(
    world: World,
) -> None:
    account_id, key = world.admit(AccountType.LAUNCHER)
    others_id, others = world.admit(AccountType.LAUNCHER)
    ids = [world.place()["id"] for _ in range(4)]
    identity = {"Launchyard-Launcher-Identity": "0f3bc5de-6a8e-4f0e-9d0c-5a9d4c1d8a37"}
    assert world.post("/v1/claims", by_id(ids[0], launcher="named"), key, identity).get_json()["claimed"] is not None
    world.claim(ids[1], key, launcher="beta")
    world.claim(ids[2], key, launcher="gamma", attended=False)
    world.claim(ids[3], others)

    delete(world, account_id)

    assert states(world, *ids) == [State.QUEUED] * 3 + [State.CLAIMED]
    assert world.ports.store.held_by_account(others_id) == [world.order(ids[3])]


def test_what_a_deleted_launcher_holds_is_given_back_however_much_it_is(world: World) -> None:
    account_id, _ = world.admit(AccountType.LAUNCHER)
    store = world.ports.store
    count = 2 * MAX_HELD + 20
    for number in range(count):
        order = an_order()
        store.create(order, a_key(order))
        store.claim(store.read(order.id), a_claim(f"{account_id}/name-{number % 7}"), world.clock.now)

    delete(world, account_id)

    assert store.held_by_account(account_id) == []
    assert len(store.claimable(["any/task"], world.clock.now, 2 * count)) == count


def test_a_capacity_machine_without_heartbeats_is_ordered_again_when_its_launcher_is_deleted(world: World) -> None:
    account_id, key = world.admit(AccountType.LAUNCHER)
    order_id = place(world)
    token = claim(world, key)["bootstrap_token"]
    reported(world, key, order_id, "fulfilled", vm_name="vm-1")
    assert world.order(order_id).state is State.RUNNING

    delete(world, account_id)

    assert world.order(order_id).state is State.QUEUED
    assert report(world, key, order_id, "fulfilled", vm_name="vm-1").status_code == 401
    assert world.ports.tokens.bootstrap(order_id, 2) != token
    _, another = world.admit(AccountType.LAUNCHER)
    assert claim(world, another)["order"]["order_id"] == order_id


def test_the_agent_launchers_of_a_deleted_account_are_gone_and_their_jobs_have_failed(world: World) -> None:
    account_id, key = world.admit(AccountType.LAUNCHER)
    launchers = [jobs.register(world, key) for _ in range(2)]
    jobs.create(world)
    running = launchers[0].run()
    jobs.create(world, session_name="survey-2")
    claimed = launchers[1].take()

    delete(world, account_id)

    assert jobs.status(world, running) == "failed"
    assert world.order(claimed).state is State.QUEUED
    assert [launcher.record() for launcher in launchers] == [None, None]
    assert launchers[0].report(running, "completed").status_code == 401


def test_a_deregistered_agent_launcher_that_polls_no_more_loses_its_jobs_whatever_it_sends(world: World) -> None:
    launcher = jobs.register(world)
    jobs.create(world)
    running = launcher.run()
    assert launcher.deregister(itself=False, key=ADMIN).status_code == 200

    for _ in range(20):
        world.clock.now += timedelta(seconds=10)
        launcher.heartbeat()
        world.sweep()

    assert jobs.status(world, running) == "failed"
    assert launcher.heartbeat().status_code == 401


# --- tenants ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("attended", [True, False])
def test_the_orders_of_a_deleted_tenant_end_at_once_and_nothing_of_their_machines_is_accepted(
    world: World, attended: bool
) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER)
    queued, held, capacity, another = (
        *(world.place(key=key)["id"] for _ in range(2)),
        world.place(CAPACITY, key=key)["id"],
        world.place()["id"],
    )
    for order_id in (held, capacity):
        world.claim(order_id, attended=attended)
        world.call_back(order_id, "started")
    world.claim(another)

    delete(world, account_id, key)

    assert states(world, queued, held, capacity) == [State.CANCELLED, State.CANCELLED, State.SUCCEEDED]
    assert world.order(another).state is State.CLAIMED
    assert upload(world, held) == 409
    assert upload(world, another) == 200
    stops = {stop["order_id"]: stop["why"] for stop in world.heartbeat((held, 1), (capacity, 1))["stop"]}
    assert stops == {held: "finished", capacity: "finished"}


def test_nothing_of_a_deleted_tenant_makes_another_order(world: World) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER)
    ports = world.ports
    ports.pools.add("pool", Pool("pool", account_id, "gcp:us-central1-a", "tiny", 1, "", NOW, NOW, dispatch=True))
    ports.batches.add("batch", _a_batch(account_id))
    ports.job_notices.add("job", Notice("job", account_id, "child", "boss", NOW, NOW))
    mailbox = Mailbox(account_id, "boss", NOW)
    ports.parent_mailboxes.add(mailbox_id(account_id, "boss"), mailbox)
    parent = world.place(SESSION, key=key)["id"]

    delete(world, account_id)
    for _ in range(5):
        world.clock.now += timedelta(minutes=3)
        world.sweep()

    assert world.order(parent).state is State.CANCELLED
    assert [one.standing for one in ports.pools.all(10)] == [False]
    assert [records.all(10) for records in (ports.batches, ports.job_notices, ports.parent_mailboxes)] == [[]] * 3
    assert [order for order in _orders(world) if order["state"] not in ("cancelled", "succeeded")] == []


@pytest.mark.parametrize("after", [timedelta(), LAPSED_CLAIM_VALID / 2])
def test_a_machine_of_a_lapsed_claim_gets_no_order_on_the_account_of_a_deleted_tenant(
    world: World, after: timedelta
) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER)
    (_, former), (_, last) = (world.admit(AccountType.LAUNCHER) for _ in range(2))
    order_id = world.place(GCP, key=key)["id"]
    assert claim(world, former)["claimed"]
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, last)["claimed"]
    reported(world, last, order_id, "failed")

    delete(world, account_id)
    checks = after // (4 * account_removals.FIRST_CHECK_DELAY)
    for _ in range(checks):
        run_the_sweep(world, after=4 * account_removals.FIRST_CHECK_DELAY)

    assert report(world, former, order_id, "fulfilled", vm_name="ghost").status_code == 404
    assert [order["id"] for order in _orders(world)] == [order_id]


def test_the_session_of_a_deleted_tenant_is_stopped_at_its_launcher_and_its_words_are_removed(world: World) -> None:
    account_id, key = world.admit(AccountType.DEPLOYER)
    launcher = jobs.register(world)
    jobs.create(world, key)
    running = launcher.run()
    body = {"session_id": "s-1", "session_name": jobs.START["session_name"]}
    assert world.post("/sessions", body, launcher.key).status_code == 200
    assert [session.account for session in world.ports.agent_sessions.all(10)] == [account_id]

    delete(world, account_id)

    assert launcher.command_or_job() == {"stop_jobs": [running]}
    assert world.ports.agent_sessions.all(10) == []
    run_the_sweep(world, after=STOP_PATIENCE)
    assert world.order(running).state is State.CANCELLED


# --- interruptions and races ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("died_in", ["held_by_account", "page"])
def test_the_sweep_finishes_a_deletion_whose_process_died(world: World, meanwhile: Meanwhile, died_in: str) -> None:
    account_id, key = world.admit(AccountType.LAUNCHER)
    order_id = world.place()["id"]
    world.claim(order_id, key, attended=False)
    world.call_back(order_id, "started")
    meanwhile(world.ports.store, died_in, _die)
    assert world.delete(f"{ACCOUNTS}/{account_id}", ADMIN).status_code == 500
    assert world.get(f"{ACCOUNTS}/{account_id}", key).status_code == 401

    run_the_sweep(world)

    assert world.order(order_id).state is State.QUEUED
    assert world.get(f"{ACCOUNTS}/{account_id}", ADMIN).status_code == 404


def test_a_claim_and_a_create_that_were_under_way_are_ended_by_the_sweep(world: World) -> None:
    launcher_id, launcher = world.admit(AccountType.LAUNCHER)
    tenant_id, tenant = world.admit(AccountType.DEPLOYER)
    order_id = world.place()["id"]
    late = an_order(account=tenant_id)

    delete(world, launcher_id)
    delete(world, tenant_id)
    store = world.ports.store
    store.claim(store.read(order_id), a_claim(f"{launcher_id}/alpha"), world.clock.now)
    store.create(late, a_key(late))
    assert upload(world, order_id) == 200
    run_the_sweep(world)

    assert upload(world, order_id) == 409
    assert states(world, order_id, late.id) == [State.QUEUED, State.CANCELLED]
    assert [world.get("/v1/orders", key).status_code for key in (launcher, tenant)] == [401, 401]
    run_the_sweep(world, after=account_removals.REMOVAL_TTL)
    assert world.ports.removals.all(10) == []


def test_a_deletion_that_cannot_end_everything_says_so_and_is_finished_by_the_next_request(
    world: World, failing: Failing
) -> None:
    account_id, key = world.admit(AccountType.LAUNCHER)
    order_id = world.place()["id"]
    world.claim(order_id, key)
    assert isinstance(world.ports.store, MemoryOrderStore)
    mend = failing(world.ports.store, "apply", Died())
    answer = world.delete(f"{ACCOUNTS}/{account_id}", ADMIN)
    mend()
    assert (answer.status_code, "key is dead" in answer.get_json()["detail"]) == (503, True)

    delete(world, account_id)

    assert world.order(order_id).state is State.QUEUED


def _die(*_: object, **__: object) -> Any:
    raise Died


def _a_batch(account_id: str) -> Batch:
    """Return a batch whose request died before it created its order."""
    member = BatchMember("order-of-a-batch", "0" * 26)
    return Batch("batch", account_id, ExportOptions(), None, None, OrderLimits(), (member,), "0" * 64, NOW, NOW)


def _orders(world: World) -> list[dict[str, Any]]:
    orders: list[dict[str, Any]] = world.get("/v1/orders?limit=100", ADMIN).get_json()["orders"]
    return orders
