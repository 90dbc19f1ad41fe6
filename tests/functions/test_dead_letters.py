"""Orders that ended badly are listed, requeued and purged."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from functions.domain.order import output_key
from functions.domain.refusals import NotFound
from functions.ports.outputs import UploadTerms
from shared.domain.order import State
from shared.domain.spec import AnySpec
from tests.factories import CAPACITY, EXPORT, TASK
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, STRANGER, World
from tests.meanwhile import Meanwhile

CONTENT = b"what an attempt left"


def fail(world: World, spec: AnySpec = TASK, **wanted: Any) -> str:
    """Return the id of an order whose first attempt failed permanently."""
    order_id: str = world.place(spec, **wanted)["id"]
    world.claim(order_id)
    world.update(order_id, "failed", reason="image_rejected", message="no such image", failure="permanent")
    return order_id


def leave(world: World, order_id: str, epoch: int = 1) -> str:
    """Upload as the worker of that epoch would; return the key."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    key = output_key(order_id, epoch, sha256, "text/plain")
    grant = world.bucket.presign_upload(UploadTerms(key, "text/plain", len(CONTENT), sha256), world.ports.lease)
    assert world.bucket.put(grant, CONTENT)
    return key


def requeue(world: World, order_id: str, key: str = CLIENT) -> dict[str, Any]:
    response = world.post(f"/v1/orders/{order_id}/requeue", key=key)
    assert response.status_code == 201, response.text
    view: dict[str, Any] = response.get_json()
    assert response.headers["Location"] == f"/v1/orders/{view['id']}"
    return view


def test_the_orders_that_failed_are_listed_with_their_reasons(world: World) -> None:
    failed = [fail(world) for _ in range(2)]
    world.place()
    fail(world, key=STRANGER)

    listed = world.get("/v1/orders?state=failed").get_json()["orders"]

    assert {order["id"] for order in listed} == set(failed)
    assert {(order["reason"], order["message"]) for order in listed} == {("image_rejected", "no such image")}


def test_a_requeue_copies_a_failed_order_and_does_not_change_it(world: World) -> None:
    headers, limits = {"Idempotency-Key": "one"}, {"run_timeout_seconds": 120.0}
    body = {"order": EXPORT.model_dump(mode="json"), "limits": limits}
    dead = world.post("/v1/orders", body, headers=headers).get_json()["id"]
    world.claim(dead)
    world.update(dead, "failed", reason="image_rejected", message="", failure="permanent")
    before = world.order(dead)

    placed = requeue(world, dead)

    assert (placed["requeued_from"], placed["state"], placed["epoch"]) == (dead, "queued", 0)
    assert (placed["spec"], placed["account"]) == (body["order"], "acme")
    assert placed["limits"]["run_timeout_seconds"] == 120
    assert world.bells.rung[-1] == placed["id"]
    assert world.order(dead) is before


def test_a_repeated_requeue_creates_one_successor(world: World) -> None:
    dead = fail(world)
    first = requeue(world, dead)
    world.claim(first["id"])

    second = requeue(world, dead)

    assert (second["id"], second["state"]) == (first["id"], "claimed")
    assert len(world.get("/v1/orders").get_json()["orders"]) == 2


def test_a_requeue_creates_no_second_successor_after_its_key_was_forgotten(world: World) -> None:
    dead = fail(world)
    first = requeue(world, dead)
    world.ports.store.forget_keys(world.clock.now + world.ports.lease, 100)

    assert requeue(world, dead)["id"] == first["id"]


@pytest.mark.parametrize("days", [0, 30])
def test_a_successor_that_was_removed_is_never_placed_again(world: World, days: int) -> None:
    """Its id would come back, with epochs that a late worker of the removed one has the tokens of."""
    dead = fail(world)
    first = requeue(world, dead)["id"]
    world.post(f"/v1/orders/{first}/cancel")
    assert world.delete(f"/v1/orders/{first}").status_code == 204
    world.clock.now += timedelta(days=days)
    world.sweep()

    for _ in range(2):
        refused = world.post(f"/v1/orders/{dead}/requeue")
        assert refused.status_code == 410
        assert refused.get_json()["detail"] == f"Its successor, the order {first}, was removed; place a new order."
    assert world.get(f"/v1/orders/{first}").status_code == 404


def test_a_successor_that_failed_is_requeued_itself(world: World) -> None:
    first = requeue(world, fail(world))["id"]
    world.claim(first)
    world.update(first, "failed", reason="image_rejected", message="", failure="permanent")

    second = requeue(world, first)

    assert second["requeued_from"] == first
    assert second["id"] != first


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_an_order_that_was_cancelled_or_expired_may_be_requeued(world: World, end: str) -> None:
    order_id = world.place()["id"]
    if end == "cancelled":
        world.post(f"/v1/orders/{order_id}/cancel")
    else:
        world.clock.now = world.order(order_id).expires_at
        world.sweep()
    assert world.order(order_id).state == end

    assert requeue(world, order_id)["requeued_from"] == order_id


def test_an_order_that_has_not_ended_or_has_succeeded_is_not_requeued(world: World) -> None:
    lives, succeeded = world.place()["id"], world.place(CAPACITY)["id"]
    world.claim(succeeded)
    world.call_back(succeeded, "started")
    world.post(f"/v1/orders/{succeeded}/cancel")
    world.update(succeeded, "stopped")

    for order_id, state in ((lives, "queued"), (succeeded, "succeeded")):
        response = world.post(f"/v1/orders/{order_id}/requeue")
        assert (response.status_code, response.get_json()["state"]) == (409, state)
    assert len(world.get("/v1/orders").get_json()["orders"]) == 2


def test_only_its_account_or_an_admin_may_requeue_an_order(world: World) -> None:
    dead = fail(world)

    assert world.post(f"/v1/orders/{dead}/requeue", key=STRANGER).status_code == 404
    assert world.post("/v1/orders/no-such-order/requeue").status_code == 404
    assert requeue(world, dead, ADMIN)["account"] == "acme"


def test_a_requeue_succeeds_even_if_its_bell_is_not_published(world: World) -> None:
    dead = fail(world)
    world.bells.broken = True

    assert requeue(world, dead)["state"] == "queued"


def test_a_purged_order_and_all_its_outputs_are_gone_and_gone_they_stay(world: World) -> None:
    dead = world.place()["id"]
    world.claim(dead)
    keys = [leave(world, dead)]
    world.lapse(dead)
    world.claim(dead)
    keys.append(leave(world, dead, epoch=2))
    world.update(dead, "failed", epoch=2, reason="image_rejected", message="", failure="permanent")

    answers = [world.delete(f"/v1/orders/{dead}") for _ in range(2)]

    assert [(answer.status_code, answer.get_data()) for answer in answers] == [(204, b""), (204, b"")]
    assert [world.bucket.stat(key) for key in keys] == [None, None]
    assert world.get(f"/v1/orders/{dead}").status_code == 404


def test_the_key_of_a_purged_order_makes_no_second_one(world: World) -> None:
    dead = fail(world, idempotency_key="one")
    world.delete(f"/v1/orders/{dead}")

    body, headers = {"order": TASK.model_dump(mode="json")}, {"Idempotency-Key": "one"}
    response = world.post("/v1/orders", body, headers=headers)

    assert response.status_code == 410
    assert response.get_json()["type"] == "urn:launchyard:problem:gone"


def test_an_order_that_waits_is_not_purged(world: World) -> None:
    order_id = world.place()["id"]
    before = world.order(order_id)

    response = world.delete(f"/v1/orders/{order_id}")

    assert (response.status_code, response.get_json()["state"]) == (409, "queued")
    assert world.order(order_id) is before


def test_a_held_order_is_not_purged_and_keeps_its_uploads(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    key = leave(world, order_id)
    before = world.order(order_id)

    response = world.delete(f"/v1/orders/{order_id}")

    assert (response.status_code, response.get_json()["state"]) == (409, "claimed")
    assert world.order(order_id) is before
    assert world.bucket.stat(key) is not None


def test_another_accounts_order_and_its_output_are_untouched(world: World) -> None:
    dead = fail(world)
    key = leave(world, dead)

    assert world.delete(f"/v1/orders/{dead}", STRANGER).status_code == 204
    assert world.order(dead).state is State.FAILED
    assert world.bucket.stat(key) is not None


def test_a_launcher_may_neither_requeue_nor_purge(world: World) -> None:
    dead = fail(world)

    assert world.post(f"/v1/orders/{dead}/requeue", key=LAUNCHER).status_code == 403
    assert world.delete(f"/v1/orders/{dead}", LAUNCHER).status_code == 403


def test_a_purge_that_died_between_its_steps_is_finished_by_the_next(world: World, meanwhile: Meanwhile) -> None:
    dead = fail(world)
    key = leave(world, dead)
    meanwhile(world.ports.store, "remove", die)
    assert world.delete(f"/v1/orders/{dead}").status_code == 500
    assert world.order(dead).state is State.FAILED

    assert world.delete(f"/v1/orders/{dead}").status_code == 204
    assert world.bucket.stat(key) is None
    with pytest.raises(NotFound):
        world.order(dead)


def test_an_order_whose_output_could_not_be_removed_is_kept_so_that_a_repeat_removes_it(
    world: World, meanwhile: Meanwhile
) -> None:
    dead = fail(world)
    key = leave(world, dead)
    meanwhile(world.bucket, "delete_below", die)
    assert world.delete(f"/v1/orders/{dead}").status_code == 500

    assert world.order(dead).state is State.FAILED
    assert world.delete(f"/v1/orders/{dead}").status_code == 204
    assert world.bucket.stat(key) is None


def die() -> None:
    raise ZeroDivisionError("killed here")
