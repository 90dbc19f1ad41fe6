"""An order's limits for each of its states, as its client set them, and its end if it exceeds one."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.domain.order import State
from shared.domain.spec import AnySpec
from tests.factories import CAPACITY, EXPORT, NOW, SESSION, TASK
from tests.functions.world import World

HOUR, DAY = 3600.0, 24 * 3600.0


def order(spec: AnySpec, limits: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"order": spec.model_dump(mode="json"), "limits": limits, **fields}


def create(
    world: World, spec: AnySpec = TASK, limits: dict[str, Any] | None = None, key: str = "one", **fields: Any
) -> TestResponse:
    return world.post("/v1/orders", order(spec, limits or {}, **fields), headers={"Idempotency-Key": key})


def placed(world: World, spec: AnySpec = TASK, limits: dict[str, Any] | None = None, **fields: Any) -> str:
    response = create(world, spec, limits, **fields)
    assert response.status_code == 201, response.text
    order_id: str = response.get_json()["id"]
    return order_id


def wrong_fields(response: TestResponse) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["field"] for error in response.get_json()["errors"]]


def keep_alive(world: World, order_id: str, until: datetime) -> None:
    """Let time pass, with a heartbeat every 30 s as a launcher sends them."""
    epoch = world.order(order_id).epoch
    while world.clock.now < until:
        world.clock.now = min(world.clock.now + timedelta(seconds=30), until)
        world.heartbeat((order_id, epoch))


@pytest.mark.parametrize(
    ("spec", "run", "ttl", "retention"),
    [
        (CAPACITY, None, None, 7 * DAY),
        (EXPORT, HOUR, None, DAY),
        (TASK, 6 * HOUR, None, 7 * DAY),
        (SESSION, DAY, None, 7 * DAY),
    ],
)
def test_an_order_has_the_limits_of_its_kind_unless_its_client_sets_some(
    world: World, spec: AnySpec, run: float | None, ttl: float | None, retention: float
) -> None:
    limits = create(world, spec).get_json()["limits"]

    assert (limits["run_timeout_seconds"], limits["ttl_seconds"]) == (run, ttl)
    assert limits["retention_seconds"] == retention


def test_an_order_has_the_limits_that_its_client_asked_for(world: World) -> None:
    asked = {
        "queue_ttl_seconds": 10.5,
        "boot_timeout_seconds": 20,
        "run_timeout_seconds": 30,
        "retention_seconds": 40,
    }

    answer = create(world, TASK, asked).get_json()

    assert answer["limits"] == {**asked, "ttl_seconds": None}
    assert datetime.fromisoformat(answer["expires_at"]) == NOW + timedelta(seconds=10.5)


def test_a_capacity_order_has_the_ttl_that_its_client_asked_for(world: World) -> None:
    limits = create(world, CAPACITY, {"ttl_seconds": 90}).get_json()["limits"]

    assert (limits["ttl_seconds"], limits["run_timeout_seconds"]) == (90, None)


@pytest.mark.parametrize(
    "name", ["queue_ttl_seconds", "boot_timeout_seconds", "run_timeout_seconds", "ttl_seconds", "retention_seconds"]
)
@pytest.mark.parametrize("value", [0, -1, 0.999, 30 * DAY + 1, "60", True, []])
def test_each_invalid_limit_is_named(world: World, name: str, value: object) -> None:
    spec = CAPACITY if name == "ttl_seconds" else TASK

    assert wrong_fields(create(world, spec, {name: value})) == [f"limits.{name}"]


@pytest.mark.parametrize("name", ["queue_ttl_seconds", "boot_timeout_seconds"])
def test_a_limit_so_short_that_nobody_can_keep_it_is_refused(world: World, name: str) -> None:
    assert wrong_fields(create(world, TASK, {name: 9.9})) == [f"limits.{name}"]
    assert create(world, TASK, {name: 10}).status_code == 201


@pytest.mark.parametrize(
    ("spec", "name"), [(CAPACITY, "run_timeout_seconds"), (TASK, "ttl_seconds"), (EXPORT, "ttl_seconds")]
)
def test_a_limit_of_another_kind_of_order_is_named(world: World, spec: AnySpec, name: str) -> None:
    assert wrong_fields(create(world, spec, {name: 60})) == [f"limits.{name}"]


def test_an_unknown_limit_is_named(world: World) -> None:
    assert wrong_fields(create(world, TASK, {"lunch_seconds": 60})) == ["limits.lunch_seconds"]


@pytest.mark.parametrize("value", ["tomorrow", "2026-11-22T13:00:00", 1, (NOW + timedelta(days=31)).isoformat()])
def test_a_time_that_is_invalid_or_without_zone_or_too_late_is_named(world: World, value: object) -> None:
    assert wrong_fields(create(world, not_before=value)) == ["not_before"]


@pytest.mark.parametrize(
    "other", [{"limits": {"run_timeout_seconds": 61}}, {"not_before": (NOW + timedelta(hours=1)).isoformat()}]
)
def test_the_same_key_with_another_limit_or_time_is_a_conflict(world: World, other: dict[str, Any]) -> None:
    first = create(world, limits={"run_timeout_seconds": 60})

    again = create(world, limits={"run_timeout_seconds": 60})
    response = create(world, **{"limits": {"run_timeout_seconds": 60}, **other})

    assert (first.status_code, again.get_json()["id"]) == (201, first.get_json()["id"])
    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:launchyard:problem:idempotency_key_reused"


def test_an_order_for_later_is_rung_for_and_claimed_when_its_time_comes_and_not_before(world: World) -> None:
    later = NOW + timedelta(hours=2)
    order_id = placed(world, not_before=later.isoformat())
    world.clock.now = later - timedelta(seconds=1)

    assert (world.sweep()["rung"], world.bells.rung, world.claim(order_id)) == (0, [], None)
    assert world.claim_next() is None
    world.clock.now = later
    assert (world.sweep()["rung"], world.bells.rung) == (1, [order_id])
    assert world.claim(order_id) is not None


def test_an_order_for_a_time_that_has_passed_may_be_claimed_at_once(world: World) -> None:
    order_id = placed(world, not_before=(NOW - timedelta(days=1)).isoformat())

    assert world.bells.rung == [order_id]
    assert world.claim(order_id) is not None


def test_an_order_for_later_may_be_cancelled_before(world: World) -> None:
    order_id = placed(world, not_before=(NOW + timedelta(hours=2)).isoformat())

    assert world.post(f"/v1/orders/{order_id}/cancel").get_json()["state"] == "cancelled"


def test_an_order_expires_when_it_has_waited_as_long_as_its_client_allows(world: World) -> None:
    order_id = placed(world, limits={"queue_ttl_seconds": 60})
    world.clock.now += timedelta(seconds=60)

    assert (world.claim(order_id), world.sweep()["ended"]) == (None, 1)
    view = world.view(order_id)
    assert (view["state"], view["reason"]) == ("expired", "queue_ttl")


def test_a_machine_that_never_reports_is_given_up_although_its_launcher_is_well(world: World) -> None:
    order_id = placed(world, limits={"boot_timeout_seconds": 120})
    for epoch in (1, 2, 3):
        world.clock.now = max(world.clock.now, world.order(order_id).available_at)
        world.claim(order_id)
        ends = world.clock.now + timedelta(seconds=120)
        keep_alive(world, order_id, ends - timedelta(seconds=1))
        assert world.sweep()["looked_at"] == 0
        keep_alive(world, order_id, ends)
        world.sweep()
        assert world.order(order_id).state is (State.FAILED if epoch == 3 else State.QUEUED)
        assert world.heartbeat((order_id, epoch))["stop"][0]["order_id"] == order_id

    view = world.view(order_id)
    assert (view["reason"], view["attempt"]) == ("boot_timeout", 3)


def test_a_worker_that_reported_is_not_held_to_the_boot_limit(world: World) -> None:
    order_id = placed(world, limits={"boot_timeout_seconds": 120})
    world.claim(order_id)
    world.call_back(order_id, "started")
    keep_alive(world, order_id, NOW + timedelta(seconds=300))

    assert world.sweep()["looked_at"] == 0


def test_a_worker_that_runs_too_long_fails_at_once_and_is_stopped(world: World) -> None:
    order_id = placed(world, limits={"run_timeout_seconds": 90})
    world.claim(order_id)
    world.clock.now += timedelta(seconds=50)
    world.call_back(order_id, "started")
    keep_alive(world, order_id, NOW + timedelta(seconds=140))

    assert world.sweep()["ended"] == 1
    view = world.view(order_id)
    assert (view["state"], view["reason"], view["attempt"]) == ("failed", "run_timeout", 1)
    assert world.heartbeat((order_id, 1))["stop"][0]["why"] == "finished"


def test_a_capacity_order_that_ran_its_ttl_has_succeeded_and_its_machine_is_stopped(world: World) -> None:
    order_id = placed(world, CAPACITY, {"ttl_seconds": 90})
    world.claim(order_id)
    world.call_back(order_id, "started")
    keep_alive(world, order_id, NOW + timedelta(seconds=90))

    assert world.sweep()["ended"] == 1
    view = world.view(order_id)
    assert (view["state"], view["reason"]) == ("succeeded", "ttl")
    assert world.heartbeat((order_id, 1))["stop"][0]["why"] == "finished"


def test_a_host_without_room_uses_no_attempt_and_the_order_waits_longer_each_time(world: World) -> None:
    order_id = placed(world)
    waits = []
    for epoch in range(1, 6):
        world.claim(order_id)
        refused = {"reason": "no_capacity", "message": "no memory", "failure": "no_capacity"}
        view = world.update(order_id, "failed", epoch=epoch, **refused).get_json()
        assert (view["state"], view["reason"], view["attempt"]) == ("queued", "no_capacity", 0)
        assert world.claim(order_id) is None
        waits.append((world.order(order_id).available_at - world.clock.now).total_seconds())
        world.clock.now = world.order(order_id).available_at

    assert waits[0] >= 10
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(waits))


def test_a_repeated_report_of_no_capacity_is_answered_the_same(world: World) -> None:
    order_id = placed(world)
    world.claim(order_id)
    refused: dict[str, Any] = {
        "reason": "no_capacity",
        "message": "",
        "failure": "no_capacity",
        "request_id": "the-same-request",
    }

    answers = [world.update(order_id, "failed", **refused).get_data() for _ in range(2)]

    assert answers[0] == answers[1]
