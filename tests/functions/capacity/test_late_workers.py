"""Workers that report after their claim has expired, section 10: their machines are not lost."""

from datetime import timedelta

import pytest

from functions.domain.accounts import AccountType
from functions.engine.lost_agents import LOST_AFTER
from shared.domain.order import State
from tests.functions.capacity.agents import registered
from tests.functions.capacity.orders import GCP, claim, claimed, lapse, machines, refused, report, reported, unavailable
from tests.functions.world import ADMIN, World
from tests.meanwhile import Meanwhile


def test_a_worker_that_was_slow_gets_its_order_back_if_no_other_took_it(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    order = reported(world, worker, order_id, "fulfilled", vm_name="vm-late")
    assert (order["status"], order["vm_name"]) == ("fulfilled", "vm-late")
    assert world.order(order_id).epoch == 2


def test_a_machine_that_is_reported_after_another_took_its_order_gets_an_order_of_its_own(
    world: World, worker: str
) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, world.admit(AccountType.LAUNCHER)[1])["claimed"]
    for _ in range(2):
        assert reported(world, worker, order_id, "fulfilled", vm_name="vm-late")["status"] == "claimed"
    orders = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert [(order["status"], order["vm_name"]) for order in orders] == [("claimed", None), ("fulfilled", "vm-late")]


def test_an_expired_workers_machine_has_its_own_order_from_the_first_write_on(
    world: World, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, world.admit(AccountType.LAUNCHER)[1])["claimed"]
    with monkeypatch.context() as after_the_creation:
        after_the_creation.setattr(type(world.ports.store), "apply", unavailable)
        report(world, worker, order_id, "fulfilled", vm_name="vm-late")
    lapse(world)
    orders = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert [(order["status"], order["vm_name"]) for order in orders] == [("open", None), ("fulfilled", "vm-late")]


def test_a_former_holders_failure_changes_nothing(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    assert reported(world, worker, order_id, "failed", error="too slow")["status"] == "open"


def test_a_machine_that_is_reported_after_the_last_attempt_gets_an_order_of_its_own(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    for _ in range(2):
        lapse(world)
        world.clock.now += timedelta(minutes=1)
        assert claim(world, worker)["claimed"]
    lapse(world)
    assert world.order(order_id).state is State.FAILED

    assert reported(world, worker, order_id, "failed", error="too slow")["status"] == "failed"
    assert machines(world) == [("failed", None)]
    for _ in range(2):
        assert reported(world, worker, order_id, "fulfilled", vm_name="vm-late")["status"] == "failed"
    assert machines(world) == [("failed", None), ("fulfilled", "vm-late")]


def test_a_machine_that_is_reported_after_its_order_was_cancelled_gets_no_order(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    world.post(f"/v1/orders/{order_id}/cancel")
    lapse(world)
    refused(report(world, worker, order_id, "fulfilled", vm_name="vm-late"), 404)
    assert machines(world) == [("failed", None)]


def test_of_two_machines_for_one_order_of_one_account_the_second_gets_an_order_of_its_own(
    world: World, worker: str
) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, worker)["claimed"]
    for vm_name in ("vm-1", "vm-2", "vm-1", "vm-2"):
        assert reported(world, worker, order_id, "fulfilled", vm_name=vm_name)["vm_name"] == "vm-1"
    assert machines(world) == [("fulfilled", "vm-1"), ("fulfilled", "vm-2")]


def test_a_claim_that_expires_while_its_machine_is_reported_is_given_back(
    world: World, worker: str, meanwhile: Meanwhile
) -> None:
    order_id = claimed(world, worker)
    meanwhile(world.ports.store, "apply", lambda: lapse(world))

    order = reported(world, worker, order_id, "fulfilled", vm_name="vm-1")

    assert (order["status"], order["vm_name"], world.order(order_id).epoch) == ("fulfilled", "vm-1", 2)


def test_a_machine_of_an_expired_claim_is_never_replaced(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    _, other = world.admit(AccountType.LAUNCHER)
    assert claim(world, other)["claimed"]
    registered(world, vm_name="vm-late", datacenter=GCP.datacenter)
    reported(world, worker, order_id, "fulfilled", vm_name="vm-late")
    reported(world, other, order_id, "failed", error="no machine")
    assert machines(world) == [("failed", None), ("fulfilled", "vm-late")]

    lapse(world, LOST_AFTER.total_seconds() + 1)  # its agent is silent

    assert machines(world) == [("failed", None), ("failed", "vm-late")]
    world.clock.now += timedelta(minutes=11)
    assert not claim(world, other)["claimed"]
