"""Clients' requests about orders, permitted and refused."""

from datetime import timedelta

import pytest

from functions.domain.order import Output
from functions.domain.refusals import Unavailable
from shared.domain.order import State
from tests.factories import CAPACITY, EXPORT, NOW, TASK, a_key, an_order
from tests.functions.world import ADMIN, LAUNCHER, STRANGER, World
from tests.meanwhile import Failing

TASK_BODY = {"order": {"kind": "task", "command": ["true"]}}


def test_a_created_order_is_queued_and_rung_for(world: World) -> None:
    response = world.post("/v1/orders", TASK_BODY, headers={"Idempotency-Key": "one"})

    view = response.get_json()
    assert (response.status_code, view["state"], view["account"]) == (201, "queued", "acme")
    assert response.headers["Location"] == f"/v1/orders/{view['id']}"
    assert world.bells.rung == [view["id"]]
    assert world.order(view["id"]).due_at == NOW + timedelta(seconds=60)


def test_a_repeated_create_answers_the_first_order_and_rings_no_more(world: World) -> None:
    first = world.place(idempotency_key="one")
    world.claim(first["id"])

    second = world.place(idempotency_key="one")

    assert (second["id"], second["state"]) == (first["id"], "claimed")
    assert world.bells.rung == [first["id"]]


def test_a_repeat_spelled_otherwise_is_still_a_repeat(world: World) -> None:
    first = world.place(EXPORT, idempotency_key="one")
    body = {"order": {"options": {}, "pi": EXPORT.pi, "kind": "export"}}

    second = world.post("/v1/orders", body, headers={"Idempotency-Key": "one"})

    assert second.status_code == 201
    assert second.get_json()["id"] == first["id"]


def test_an_idempotency_key_used_for_another_order_is_refused(world: World) -> None:
    world.place(TASK, idempotency_key="one")

    response = world.post(
        "/v1/orders", {"order": {"kind": "task", "command": ["false"]}}, headers={"Idempotency-Key": "one"}
    )

    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:launchyard:problem:idempotency_key_reused"


def test_two_accounts_may_use_the_same_idempotency_key(world: World) -> None:
    ours = world.place(idempotency_key="one")
    theirs = world.place(idempotency_key="one", key=STRANGER)

    assert ours["id"] != theirs["id"]


@pytest.mark.parametrize("key", [None, "", "x" * 201, "caf\u00e9", "tab\there"])
def test_a_create_without_a_valid_idempotency_key_is_refused_with_what_to_send(world: World, key: str | None) -> None:
    response = world.post("/v1/orders", TASK_BODY, headers={} if key is None else {"Idempotency-Key": key})

    assert response.status_code == 400
    assert "Idempotency-Key" in response.get_json()["detail"]
    assert "fresh UUID" in response.get_json()["detail"]


def test_a_broken_doorbell_does_not_fail_a_create(world: World) -> None:
    world.bells.broken = True

    placed = world.place()
    world.bells.broken = False
    world.bells.asked.clear()
    world.clock.now += timedelta(seconds=10)
    world.sweep()

    assert placed["state"] == "queued"
    assert world.bells.rung == [placed["id"]]


def test_a_launcher_that_is_faster_than_the_bells_record_does_not_fail_a_create(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.bells, "ring", lambda bell: world.claim(bell.order_id))

    placed = world.place()

    assert world.order(placed["id"]).state is State.CLAIMED


def test_another_accounts_order_is_not_found_on_any_route(world: World) -> None:
    order_id = world.place()["id"]

    responses = [
        world.get(f"/v1/orders/{order_id}", STRANGER),
        world.get(f"/v1/orders/{order_id}/output", STRANGER),
        world.post(f"/v1/orders/{order_id}/cancel", key=STRANGER),
        world.get("/v1/orders/no-such-order"),
    ]

    assert [response.status_code for response in responses] == [404] * 4
    assert len({response.get_data() for response in responses}) == 1
    assert world.order(order_id).cancel_requested_at is None


def test_an_admin_reads_every_accounts_orders(world: World) -> None:
    placed = [world.place()["id"], world.place(key=STRANGER)["id"]]

    listed = world.get("/v1/orders", ADMIN).get_json()["orders"]

    assert {order["id"] for order in listed} == set(placed)
    assert world.get(f"/v1/orders/{placed[1]}", ADMIN).status_code == 200


def test_a_client_lists_its_own_orders_page_by_page_newest_first(world: World) -> None:
    world.place(key=STRANGER)
    placed = []
    for _ in range(3):
        world.clock.now += timedelta(seconds=1)
        placed.append(world.place()["id"])

    first = world.get("/v1/orders?limit=2").get_json()
    second = world.get(f"/v1/orders?limit=2&after={first['next']}").get_json()

    assert [order["id"] for order in [*first["orders"], *second["orders"]]] == placed[::-1]
    assert second["next"] is None


def test_a_list_can_be_narrowed_by_state_and_kind(world: World) -> None:
    world.place(EXPORT)
    capacity = world.place(CAPACITY)["id"]
    claimed = world.place(CAPACITY)["id"]
    world.claim(claimed)

    listed = world.get("/v1/orders?kind=capacity&state=queued").get_json()["orders"]

    assert [order["id"] for order in listed] == [capacity]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("state=sleeping", "state"),
        ("kind=%ff", "kind"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
        ("after=not-a-mark-of-ours", "after"),
        ("after=", "after"),
    ],
)
def test_a_wrong_query_parameter_is_named(world: World, query: str, field: str) -> None:
    response = world.get(f"/v1/orders?{query}")

    assert response.status_code == 422
    assert [error["field"] for error in response.get_json()["errors"]] == [field]


def test_a_waiting_order_is_cancelled_at_once_and_may_be_cancelled_again(world: World) -> None:
    order_id = world.place()["id"]

    answers = [world.post(f"/v1/orders/{order_id}/cancel") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer.get_json()["state"] for answer in answers} == {"cancelled"}
    assert len({answer.get_data() for answer in answers}) == 1


def test_cancelling_a_held_order_is_noted_once(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)

    answers = [world.post(f"/v1/orders/{order_id}/cancel") for _ in range(20)]

    assert {(answer.status_code, answer.get_json()["state"]) for answer in answers} == {(200, "claimed")}
    assert answers[0].get_json()["cancel_requested"]
    assert len(world.order(order_id).recent) == 2


def test_a_cancellation_is_remembered_longer_than_its_request(world: World) -> None:
    order = an_order(state=State.SUCCEEDED, cancel_requested_at=NOW, recent=())
    world.ports.store.create(order, a_key(order))

    response = world.post(f"/v1/orders/{order.id}/cancel")

    assert (response.status_code, response.get_json()["state"]) == (200, "succeeded")


def test_an_order_that_ended_otherwise_cannot_be_cancelled(world: World) -> None:
    order_id = world.place()["id"]
    world.claim(order_id)
    world.update(order_id, "failed", reason="launch_failed", message="no", failure="permanent")

    response = world.post(f"/v1/orders/{order_id}/cancel")

    assert response.status_code == 409
    assert response.get_json()["state"] == "failed"


def test_the_output_of_an_order_that_has_not_succeeded_is_a_conflict_with_its_state(world: World) -> None:
    order_id = world.place()["id"]

    response = world.get(f"/v1/orders/{order_id}/output")

    assert response.status_code == 409
    assert response.get_json()["state"] == "queued"


def test_a_presigned_url_is_passed_on_byte_for_byte(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://a.example/b/outputs/x/1/a~b.xml?X-Amz-Credential=id%2Fauto%2Fs3&d=a%3B%20f%3D%22x%27%22&s=%2B+/=%7e"
    order = an_order(state=State.SUCCEEDED, output=Output("key", "a.xml", "application/xml", 1, "0" * 64))
    world.ports.store.create(order, a_key(order))
    monkeypatch.setattr(world.bucket, "presign_download", lambda *_: url)

    assert world.get(f"/v1/orders/{order.id}/output").headers["Location"] == url


def test_a_capacity_order_that_was_released_has_no_output(world: World) -> None:
    order_id = world.place(CAPACITY)["id"]
    world.claim(order_id)
    world.call_back(order_id, "started")
    world.post(f"/v1/orders/{order_id}/cancel")
    world.update(order_id, "stopped")

    assert world.get(f"/v1/orders/{order_id}/output").status_code == 404


def test_a_store_that_cannot_be_reached_says_when_to_come_again(world: World, failing: Failing) -> None:
    failing(world.ports.store, "read", Unavailable("Firestore does not answer."))

    response = world.get("/v1/orders/x")

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0


def test_a_launchers_key_places_no_orders(world: World) -> None:
    response = world.post("/v1/orders", TASK_BODY, LAUNCHER, {"Idempotency-Key": "one"})

    assert response.status_code == 403


def test_no_key_of_a_clients_own_stands_in_the_way_of_placing_a_dead_order_again(world: World) -> None:
    dead = world.place()["id"]
    world.post(f"/v1/orders/{dead}/cancel")
    world.place(idempotency_key=f"requeue {dead}")

    again = world.post(f"/v1/orders/{dead}/requeue")

    assert again.status_code == 201, again.text
    assert again.get_json()["requeued_from"] == dead
