"""A launcher's reports about an order that it holds, and the heartbeats that renew all its leases."""

from datetime import timedelta
from typing import Any

import pytest

from functions.domain.refusals import Unavailable
from shared.domain.order import LEASE, State
from tests.factories import CAPACITY
from tests.functions.test_callback import OUTPUT, upload
from tests.functions.world import CLIENT, OTHER_LAUNCHER, World
from tests.meanwhile import Failing, Hanging, Meanwhile


@pytest.fixture
def held(world: World) -> str:
    """An order that rack/alpha holds at epoch 1."""
    order_id: str = world.place()["id"]
    world.claim(order_id)
    return order_id


@pytest.fixture
def machine(world: World) -> str:
    """A capacity order that is running, and cancelled."""
    order_id: str = world.place(CAPACITY)["id"]
    world.claim(order_id)
    world.call_back(order_id, "started")
    world.post(f"/v1/orders/{order_id}/cancel")
    return order_id


def test_a_launcher_says_which_machine_it_is_about_to_start(world: World, held: str) -> None:
    view = world.update(held, "provisioning", vm="task-1").get_json()

    assert (view["state"], view["vm"]) == ("provisioning", "task-1")


@pytest.mark.parametrize(("failure", "state"), [("retryable", "queued"), ("permanent", "failed")])
def test_a_failed_attempt_is_retried_if_another_may_succeed(world: World, held: str, failure: str, state: str) -> None:
    response = world.update(held, "failed", reason="machine_exited", message="exit code 1", failure=failure)

    view = response.get_json()
    assert (view["state"], view["reason"], view["message"]) == (state, "machine_exited", "exit code 1")


def test_a_launcher_cannot_give_a_reason_that_is_the_control_planes(world: World, held: str) -> None:
    response = world.update(held, "failed", reason="queue_ttl", message="", failure="retryable")

    assert response.status_code == 422
    assert response.get_json()["errors"][0]["field"] == "reason"
    assert world.order(held).state is State.CLAIMED


def test_a_returned_order_waits_again_and_uses_no_attempt(world: World, held: str) -> None:
    view = world.update(held, "returned", message="going down").get_json()

    assert (view["state"], view["attempt"]) == ("queued", 0)


def test_a_stopped_order_that_its_client_cancelled_is_cancelled(world: World, held: str) -> None:
    world.post(f"/v1/orders/{held}/cancel")

    view = world.update(held, "stopped").get_json()

    assert (view["state"], view["reason"]) == ("cancelled", "cancelled")


def test_a_stopped_capacity_order_that_ran_has_succeeded_and_is_released(world: World, machine: str) -> None:
    view = world.update(machine, "stopped").get_json()

    assert (view["state"], view["reason"]) == ("succeeded", "released")


def test_a_capacity_order_stopped_before_it_ran_is_cancelled(world: World) -> None:
    order_id = world.place(CAPACITY)["id"]
    world.claim(order_id)
    world.post(f"/v1/orders/{order_id}/cancel")

    assert world.update(order_id, "stopped").get_json()["state"] == "cancelled"


def test_stopping_an_order_that_was_not_cancelled_is_a_conflict(world: World, held: str) -> None:
    response = world.update(held, "stopped")

    assert response.status_code == 409
    assert response.get_json()["state"] == "claimed"


def test_the_end_of_a_machine_after_its_order_succeeded_changes_nothing(world: World, held: str) -> None:
    world.call_back(held, "started")
    upload(world, held)
    world.call_back(held, "completed", **OUTPUT)
    before = world.order(held)

    response = world.update(held, "machine_gone", exit_code=0, message="The machine ended with exit code 0.")

    assert response.status_code == 200
    assert response.get_json()["state"] == "succeeded"
    assert world.order(held) == before


def test_a_machine_that_ends_while_its_order_runs_is_a_failed_attempt(world: World, held: str) -> None:
    world.call_back(held, "started")

    view = world.update(held, "machine_gone", exit_code=1, message="The machine ended with exit code 1.").get_json()

    assert (view["state"], view["reason"], view["attempt"]) == ("queued", "machine_exited", 1)
    assert view["message"] == "The machine ended with exit code 1."


def test_a_machine_that_ends_once_its_order_was_cancelled_ends_the_order(world: World, held: str) -> None:
    world.post(f"/v1/orders/{held}/cancel")

    view = world.update(held, "machine_gone", exit_code=None, message="The machine is gone.").get_json()

    assert (view["state"], view["reason"]) == ("cancelled", "cancelled")


def test_a_machine_of_an_epoch_that_is_over_ends_nothing(world: World, held: str) -> None:
    world.lapse(held)
    world.claim(held)

    response = world.update(held, "machine_gone", exit_code=0, message="The machine is gone.")

    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:launchyard:problem:lease_lost"
    assert world.order(held).state is State.CLAIMED


REPORTS = [
    ("provisioning", {"vm": "task-1"}),
    ("failed", {"reason": "machine_exited", "message": "", "failure": "retryable"}),
    ("failed", {"reason": "machine_exited", "message": "", "failure": "permanent"}),
    ("machine_gone", {"exit_code": 1, "message": ""}),
    ("returned", {"message": ""}),
    ("stopped", {}),
]


@pytest.mark.parametrize(("status", "fields"), REPORTS)
@pytest.mark.parametrize("intruder", [{"key": OTHER_LAUNCHER}, {"launcher": "beta"}])
def test_only_the_holder_reports(
    world: World, held: str, status: str, fields: dict[str, object], intruder: dict[str, str]
) -> None:
    world.post(f"/v1/orders/{held}/cancel")
    before = world.order(held)

    response = world.update(held, status, **{**fields, **intruder})  # type: ignore[arg-type]

    assert response.status_code == 404
    assert world.order(held) is before


@pytest.mark.parametrize(("status", "fields"), REPORTS)
@pytest.mark.parametrize("holder", [{"key": OTHER_LAUNCHER}, {"launcher": "beta"}])
def test_a_former_holder_reports_at_no_other_launchers_epoch(
    world: World, held: str, status: str, fields: dict[str, object], holder: dict[str, str]
) -> None:
    world.lapse(held)
    assert world.claim(held, **holder) is not None
    world.post(f"/v1/orders/{held}/cancel")
    before = world.order(held)

    response = world.update(held, status, epoch=2, **fields)  # type: ignore[arg-type]

    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:launchyard:problem:lease_lost"
    assert world.order(held) is before


@pytest.mark.parametrize("intruder", [{"key": OTHER_LAUNCHER}, {"launcher": "beta"}])
def test_only_the_last_holder_learns_of_an_order_that_has_ended(
    world: World, held: str, intruder: dict[str, Any]
) -> None:
    world.update(held, "failed", reason="launch_failed", message="", failure="permanent")

    response = world.update(held, "machine_gone", exit_code=0, message="", **intruder)

    assert response.status_code == 404
    assert world.update(held, "machine_gone", exit_code=0, message="").status_code == 200


@pytest.mark.parametrize(("status", "fields"), REPORTS)
def test_a_stale_epoch_changes_nothing(world: World, held: str, status: str, fields: dict[str, object]) -> None:
    world.lapse(held)
    world.claim(held)
    world.post(f"/v1/orders/{held}/cancel")
    before = world.order(held)

    response = world.update(held, status, epoch=1, **fields)  # type: ignore[arg-type]

    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:launchyard:problem:lease_lost"
    assert world.order(held) is before


@pytest.mark.parametrize(("status", "fields"), REPORTS[:4])
def test_a_repeated_report_answers_the_same(world: World, held: str, status: str, fields: dict[str, object]) -> None:
    fields = {**fields, "request_id": "the-same-request"}

    answers = [world.update(held, status, **fields) for _ in range(2)]  # type: ignore[arg-type]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].get_data() == answers[1].get_data()


def test_even_a_repeat_is_refused_once_its_epoch_is_over(world: World, held: str) -> None:
    world.update(held, "provisioning", vm="task-1", request_id="the-same-request")
    world.lapse(held)
    world.claim(held, OTHER_LAUNCHER)

    response = world.update(held, "provisioning", vm="task-1", request_id="the-same-request")

    assert response.status_code == 409


def test_a_report_on_an_unknown_order_is_not_found(world: World) -> None:
    assert world.update("no-such-order", "stopped").status_code == 404


def test_one_heartbeat_renews_everything_that_is_held(world: World) -> None:
    held = [world.place()["id"] for _ in range(3)]
    for order_id in held:
        world.claim(order_id)
    world.clock.now += timedelta(seconds=30)

    answer = world.heartbeat(*[(order_id, 1) for order_id in held])

    assert [renewed["order_id"] for renewed in answer["renewed"]] == held
    assert {renewed["lease_seconds"] for renewed in answer["renewed"]} == {LEASE.total_seconds()}
    assert answer["stop"] == []
    leases = [world.order(order_id).lease for order_id in held]
    assert {lease and lease.until for lease in leases} == {world.clock.now + LEASE}


def test_a_heartbeat_says_what_to_stop_and_why(world: World) -> None:
    cancelled, finished, lapsed, other = [world.place()["id"] for _ in range(4)]
    for order_id in (cancelled, finished, lapsed):
        world.claim(order_id)
    world.claim(other, OTHER_LAUNCHER)
    world.post(f"/v1/orders/{cancelled}/cancel")
    world.call_back(finished, "failed", reason="program_failed", message="", failure="permanent")

    answer = world.heartbeat((cancelled, 1), (finished, 1), (lapsed, 2), (other, 1), ("no-such-order", 1))

    assert {stop["order_id"]: stop["why"] for stop in answer["stop"]} == {
        cancelled: "cancelled",
        finished: "finished",
        lapsed: "lease_lost",
        other: "lease_lost",
        "no-such-order": "lease_lost",
    }
    assert [renewed["order_id"] for renewed in answer["renewed"]] == [cancelled]


def test_an_order_that_lapsed_is_to_be_stopped(world: World, held: str) -> None:
    world.lapse(held)

    assert world.heartbeat((held, 1))["stop"][0]["why"] == "lease_lost"
    assert world.order(held).state is State.QUEUED


def test_a_hold_that_cannot_be_renewed_now_does_not_keep_the_others_from_it(world: World, failing: Failing) -> None:
    held = [world.place()["id"] for _ in range(3)]
    for order_id in held:
        world.claim(order_id)
    failing(world.ports.store, "apply", Unavailable("The order keeps changing."), only=held[1])

    answer = world.heartbeat(*[(order_id, 1) for order_id in held])

    assert [renewed["order_id"] for renewed in answer["renewed"]] == [held[0], held[2]]
    assert answer["stop"] == []


def test_an_order_that_the_store_does_not_answer_for_delays_no_other(
    world: World, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [world.place()["id"] for _ in range(3)]
    for order_id in held:
        world.claim(order_id)
    hanging(world.ports.store, "apply", only=held[0])
    monkeypatch.setattr("functions.engine.leases.HEARTBEAT_BUDGET", timedelta(seconds=5))

    answer = world.heartbeat(*[(order_id, 1) for order_id in held])

    assert [renewed["order_id"] for renewed in answer["renewed"]] == held[1:]
    assert answer["stop"] == []


def test_the_leases_that_end_soonest_are_renewed_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [world.place()["id"] for _ in range(3)]
    for order_id in reversed(held):
        world.clock.now += timedelta(seconds=1)
        world.claim(order_id)
    monkeypatch.setattr("functions.engine.concurrency.MAX_THREADS", 1)

    answer = world.heartbeat(*[(order_id, 1) for order_id in held])

    assert [renewed["order_id"] for renewed in answer["renewed"]] == held[::-1]


def test_an_order_that_cannot_be_read_now_is_not_taken_for_a_lost_one(
    world: World, held: str, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.ports.store, "get_many", lambda order_ids: {})
    failing(world.ports.store, "apply", Unavailable("The order was written by another version of the control plane."))

    assert world.heartbeat((held, 1)) == {"renewed": [], "stop": []}


def test_an_order_that_ends_between_a_heartbeats_read_and_its_write_is_finished(
    world: World, held: str, meanwhile: Meanwhile
) -> None:
    def end() -> None:
        world.call_back(held, "failed", reason="program_failed", message="", failure="permanent")

    meanwhile(world.ports.store, "get_many", end, after=True)

    assert world.heartbeat((held, 1))["stop"][0]["why"] == "finished"


def test_a_launcher_that_holds_nothing_may_say_so(world: World) -> None:
    assert world.heartbeat() == {"renewed": [], "stop": []}


def test_the_same_hold_twice_is_one(world: World, held: str) -> None:
    assert len(world.heartbeat((held, 1), (held, 1))["renewed"]) == 1


def test_a_client_may_not_report_for_a_launcher(world: World, held: str) -> None:
    assert world.update(held, "provisioning", vm="x", key=CLIENT).status_code == 403
