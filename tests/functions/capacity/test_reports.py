"""Reports of the contract's workers, section 4."""

from datetime import timedelta

import pytest

from functions.domain.accounts import AccountType
from shared.domain.order import Reason, State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize
from tests.functions.capacity.orders import GCP, claim, claimed, lapse, place, refused, report, reported
from tests.functions.world import ADMIN, LAUNCHER, World


def test_a_worker_takes_an_order_from_claimed_to_fulfilled(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    provisioning = reported(world, worker, order_id, "provisioning")
    assert (provisioning["status"], provisioning["claim_expires_at"]) == ("provisioning", "2026-11-22T12:15:01Z")
    world.clock.now += timedelta(minutes=2)
    order = reported(world, worker, order_id, "fulfilled", vm_name="tdvirsh-trust_domain_verity-5e")
    assert (order["status"], order["vm_name"]) == ("fulfilled", "tdvirsh-trust_domain_verity-5e")
    assert (order["claim_expires_at"], order["fulfilled_at"]) == (None, "2026-11-22T12:02:01Z")
    assert world.order(order_id).state is State.RUNNING


def test_a_fulfilled_order_stays_so_without_any_heartbeat(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    reported(world, worker, order_id, "fulfilled")
    lapse(world, seconds=40 * 24 * 3600)
    assert world.order(order_id).state is State.RUNNING


def test_a_worker_that_reports_no_more_loses_its_claim_after_ten_minutes(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    lapse(world, seconds=604)
    assert world.order(order_id).state is State.CLAIMED
    lapse(world, seconds=2)
    (order,) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert (order["status"], order["error"]) == ("open", "claim expired and was re-queued")
    assert [order[name] for name in ("claimed_by_account_id", "claim_expires_at", "claimed_at", "vm_name")] == [
        None
    ] * 4


def test_a_claim_that_finds_no_order_releases_expired_claims_for_the_next(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    world.clock.now += timedelta(seconds=606)
    assert not claim(world, worker)["claimed"]
    world.clock.now += timedelta(seconds=15)
    assert claim(world, world.admit(AccountType.LAUNCHER)[1])["order"]["order_id"] == order_id


def test_each_provisioning_report_renews_the_claim_up_to_the_boot_limit(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    reported(world, worker, order_id, "provisioning")
    for _ in range(2):
        world.clock.now += timedelta(minutes=14)
        reported(world, worker, order_id, "provisioning")
    lapse(world, seconds=180)
    order = world.order(order_id)
    assert (order.state, order.reason) == (State.QUEUED, Reason.BOOT_TIMEOUT)


def test_a_repeated_claimed_report_renews_the_claim(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    world.clock.now += timedelta(minutes=5)
    assert reported(world, worker, order_id, "claimed")["claim_expires_at"] == "2026-11-22T12:15:01Z"


@pytest.mark.parametrize("status", ["claimed", "provisioning"])
def test_null_keeps_the_stored_value_and_an_empty_text_clears_it(world: World, worker: str, status: str) -> None:
    order_id = claimed(world, worker)
    reported(world, worker, order_id, status, vm_name="vm-1", error="slow")
    kept = reported(world, worker, order_id, status, vm_name=None)
    assert (kept["vm_name"], kept["error"]) == ("vm-1", "slow")
    cleared = reported(world, worker, order_id, status, vm_name="", error="")
    assert (cleared["vm_name"], cleared["error"]) == (None, None)


def test_a_failure_ends_the_order_with_its_error(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    order = reported(world, worker, order_id, "failed", error="x" * 450, vm_name="vm-1")
    assert (order["status"], order["error"], order["vm_name"]) == ("failed", "x" * 450, "vm-1")
    assert (order["claim_expires_at"], order["fulfilled_at"]) == (None, "2026-11-22T12:00:01Z")
    assert order["claimed_by_account_id"] is not None


def test_a_failure_without_an_error_gets_one(world: World, worker: str) -> None:
    assert reported(world, worker, claimed(world, worker), "failed")["error"]


def test_a_provider_that_the_worker_does_not_have_queues_the_order_again(world: World, worker: str) -> None:
    order_id = claimed(world, worker)
    order = reported(world, worker, order_id, "failed", error="provider 'gcp' is not enabled on this launcher")
    assert order["status"] == "open"
    assert world.order(order_id).attempt == 0


@pytest.mark.parametrize("status", ["fulfilled", "failed"])
def test_the_same_final_report_again_changes_nothing(world: World, worker: str, status: str) -> None:
    order_id = claimed(world, worker)
    first = reported(world, worker, order_id, status, error="no")
    world.clock.now += timedelta(minutes=1)
    assert reported(world, worker, order_id, status, error="another") == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *(("provisioning", "claimed"), ("fulfilled", "claimed"), ("fulfilled", "provisioning")),
        *(("fulfilled", "failed"), ("failed", "fulfilled"), ("failed", "provisioning"), ("failed", "claimed")),
    ],
)
def test_a_transition_that_the_contract_does_not_have_is_refused(
    world: World, worker: str, before: str, after: str
) -> None:
    order_id = claimed(world, worker)
    before_it = reported(world, worker, order_id, before)
    detail = refused(report(world, worker, order_id, after, vm_name="vm-2"), 409)
    assert detail == f"The order is {before}; it cannot become {after}"
    (after_it,) = world.get("/api/v1/admin/agents/capacity/orders", ADMIN).get_json()["orders"]
    assert after_it == before_it


@pytest.mark.parametrize("status", ["open", "done", "", "FULFILLED!"])
def test_an_unknown_status_is_refused(world: World, worker: str, status: str) -> None:
    assert refused(report(world, worker, claimed(world, worker), status), 422) == "invalid order status"


def test_a_report_without_a_status_names_the_field(world: World, worker: str) -> None:
    answer = world.post(f"/api/v1/launchers/capacity/orders/{claimed(world, worker)}", {"vm_name": "x"}, worker)
    assert answer.status_code == 422
    (wrong,) = answer.get_json()["detail"]
    assert (wrong["type"], wrong["loc"], wrong["msg"]) == ("missing", ["body", "status"], "Field required")


@pytest.mark.parametrize("status", ["claimed", "provisioning", "fulfilled", "failed"])
def test_an_order_that_the_sender_never_held_is_not_found(world: World, worker: str, status: str) -> None:
    other = world.admit(AccountType.LAUNCHER)[1]
    theirs, nobodys = claimed(world, other), place(world)
    task, no_id = world.place()["id"], "no order's id"
    for order_id in (theirs, nobodys, task, "4a0e1ae5-5b0d-4c86-9a6c-6f5d3d0c3a10", no_id):
        assert refused(report(world, worker, order_id, status), 404) == "Capacity launch order not found"
    assert world.order(nobodys).state is State.QUEUED


def test_an_order_that_a_native_launcher_holds_takes_no_report_of_the_contract(world: World) -> None:
    order_id = world.place(CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY))["id"]
    assert world.claim(order_id) is not None
    assert refused(report(world, LAUNCHER, order_id, "fulfilled"), 404) == "Capacity launch order not found"


def test_if_attestation_is_required_the_workers_report_only_ends_provisioning(world: World, worker: str) -> None:
    order_id = claimed(world, worker, GCP.model_copy(update={"attestation": Attestation.REQUIRED}))
    reported(world, worker, order_id, "provisioning")
    order = reported(world, worker, order_id, "fulfilled", vm_name="vm-1")
    assert (order["status"], order["vm_name"], order["fulfilled_at"]) == ("provisioning", "vm-1", None)
    assert world.order(order_id).state is State.PROVISIONING
