"""A launcher whose claim lapsed fills no account: each lapsed claim gives one machine an order, for an hour."""

from datetime import timedelta

import pytest

from functions.domain.accounts import AccountType
from functions.domain.order import LAPSED_CLAIM_VALID
from functions.engine.late_workers import MAX_ADOPTED_RUN
from shared.domain.order import Reason, State
from shared.domain.spec import Attestation
from tests.functions.capacity.orders import GCP, claim, claimed, lapse, machines, refused, report, reported
from tests.functions.world import CLIENT, World


def lapsed(world: World, worker: str, attestation: Attestation = Attestation.OPTIONAL) -> str:
    """Return an order whose claim by the worker has lapsed, and which another launcher holds now."""
    order_id = claimed(world, worker, GCP.model_copy(update={"attestation": attestation}))
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, world.admit(AccountType.LAUNCHER)[1])["claimed"]
    return order_id


def test_after_its_order_was_cancelled_a_launcher_fills_no_account_with_running_orders(
    world: World, worker: str
) -> None:
    order_id = claimed(world, worker)
    lapse(world, 38 + 606)
    world.post(f"/v1/orders/{order_id}/cancel")

    for number in range(500):
        refused(report(world, worker, order_id, "fulfilled", vm_name=f"ghost-{number}"), 404)

    assert machines(world) == [("failed", None)]


@pytest.mark.parametrize("when", ["held by another", "released by its client", "purged"])
def test_an_order_that_its_client_ended_gets_no_second_machine(world: World, worker: str, when: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    _, other = world.admit(AccountType.LAUNCHER)
    assert claim(world, other)["claimed"]
    if when != "held by another":
        reported(world, other, order_id, "fulfilled", vm_name="vm-1")
    assert world.post(f"/v1/orders/{order_id}/cancel").status_code == 200
    if when == "purged":
        assert world.delete(f"/v1/orders/{order_id}", CLIENT).status_code == 204

    refused(report(world, worker, order_id, "fulfilled", vm_name="ghost"), 404)

    assert [vm for _, vm in machines(world)] == {"held by another": [None], "purged": []}.get(when, ["vm-1"])


def test_a_lapsed_claim_gives_one_machine_an_order(world: World, worker: str) -> None:
    order_id = lapsed(world, worker)
    reported(world, worker, order_id, "fulfilled", vm_name="ghost-0")

    for number in range(1, 500):
        refused(report(world, worker, order_id, "fulfilled", vm_name=f"ghost-{number}"), 404)

    reported(world, worker, order_id, "fulfilled", vm_name="ghost-0")
    assert machines(world) == [("claimed", None), ("fulfilled", "ghost-0")]


def test_an_adopted_machine_whose_order_was_purged_gets_no_other(world: World, worker: str) -> None:
    order_id = lapsed(world, worker)
    reported(world, worker, order_id, "fulfilled", vm_name="ghost-0")
    (adopted,) = (one["id"] for one in world.get("/v1/orders?state=running").get_json()["orders"])
    world.post(f"/v1/orders/{adopted}/cancel")
    assert world.delete(f"/v1/orders/{adopted}").status_code == 204

    for name in ("ghost-0", "ghost-1"):
        refused(report(world, worker, order_id, "fulfilled", vm_name=name), 404)

    assert machines(world) == [("claimed", None)]


def test_the_holder_of_an_order_that_names_many_machines_gets_an_order_for_each_lapsed_claim(
    world: World, worker: str
) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += timedelta(seconds=20)
    assert claim(world, worker)["claimed"]

    for number in range(100):
        report(world, worker, order_id, "fulfilled", vm_name=f"vm-{number}")

    assert machines(world) == [("fulfilled", "vm-0"), ("fulfilled", "vm-1")]


def test_a_machine_is_reported_in_time_or_not_at_all(world: World, worker: str) -> None:
    order_id = lapsed(world, worker)
    reports = {
        status: {"status": status, "vm_name": "ghost"} for status in ("claimed", "provisioning", "fulfilled", "failed")
    }
    lapse_at = world.order(order_id).lapsed[0].lapsed_at
    world.clock.now = lapse_at + LAPSED_CLAIM_VALID

    for body in reports.values():
        refused(world.post(f"/api/v1/launchers/capacity/orders/{order_id}", body, worker), 404)

    world.clock.now -= timedelta(seconds=1)
    assert reported(world, worker, order_id, "fulfilled", vm_name="ghost")["status"] == "claimed"


def test_a_claim_that_lapsed_long_ago_is_forgotten(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world)
    world.clock.now += LAPSED_CLAIM_VALID
    assert claim(world, worker)["claimed"]
    lapse(world)

    assert [one.epoch for one in world.order(order_id).lapsed] == [2]


def test_an_order_of_a_second_machine_says_so_and_has_an_end(world: World, worker: str) -> None:
    order_id = lapsed(world, worker)
    reported(world, worker, order_id, "fulfilled", vm_name="ghost")

    (adopted,) = world.get("/v1/orders?state=running").get_json()["orders"]

    assert adopted["requeued_from"] == order_id
    assert f"A second machine for order {order_id}" in adopted["message"]
    lapse(world, MAX_ADOPTED_RUN.total_seconds())
    ended = world.order(adopted["id"])
    assert (ended.state, ended.reason) == (State.SUCCEEDED, Reason.TTL)


@pytest.mark.parametrize("status", ["claimed", "provisioning", "fulfilled"])
@pytest.mark.parametrize("taken", [True, False])
def test_a_machine_of_a_lapsed_claim_that_cannot_be_attested_gets_no_order(
    world: World, worker: str, status: str, taken: bool
) -> None:
    if taken:
        order_id = lapsed(world, worker, Attestation.REQUIRED)
    else:
        order_id = claimed(world, worker, GCP.model_copy(update={"attestation": Attestation.REQUIRED}))
        lapse(world)
    before = world.order(order_id)

    refused(report(world, worker, order_id, status, vm_name="ghost"), 404)

    assert world.order(order_id) is before
    assert len(machines(world)) == 1
