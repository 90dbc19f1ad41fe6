"""The deadlines of a task that names an image, and what the end of its machine means for it."""

from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.factories import TASK
from tests.functions.tasks.calls import claim, held, report
from tests.functions.world import LAUNCHER, OTHER_LAUNCHER, World

BOOT, RUN = timedelta(seconds=120), timedelta(minutes=60)


def provision(world: World, task: str, epoch: int = 1) -> None:
    assert world.update(task, "provisioning", epoch, vm=f"worker-{epoch}").status_code == 200


def running(world: World) -> str:
    task = held(world)
    provision(world, task)
    report(world, task, "started")
    return task


def pass_time(world: World, task: str, time: timedelta, epoch: int = 1) -> dict[str, Any]:
    """Let time pass with a heartbeat every 30 s, sweep, and return the order."""
    until = world.clock.now + time
    while world.clock.now < until:
        world.clock.now = min(world.clock.now + timedelta(seconds=30), until)
        world.heartbeat((task, epoch))
    world.sweep()
    return world.view(task)


def gone(world: World, task: str, exit_code: int | None, epoch: int = 1, key: str = LAUNCHER) -> TestResponse:
    message = f"The machine ended by itself: {exit_code}."
    return world.update(task, "machine_gone", epoch, key, exit_code=exit_code, message=message)


def test_a_task_with_an_image_has_the_contracts_limits_and_one_retry(world: World) -> None:
    view = world.view(held(world))

    assert view["limits"]["boot_timeout_seconds"] == BOOT.total_seconds()
    assert view["limits"]["run_timeout_seconds"] == RUN.total_seconds()
    assert view["max_attempts"] == 2
    assert world.view(held(world, TASK))["max_attempts"] == 3


def test_a_machine_whose_worker_does_not_start_in_time_is_stopped_and_made_once_more(world: World) -> None:
    task = held(world)
    provision(world, task)

    waiting = pass_time(world, task, BOOT)

    assert (waiting["state"], waiting["reason"]) == ("queued", "boot_timeout")
    assert [stop["why"] for stop in world.heartbeat((task, 1))["stop"]] == ["lease_lost"]

    world.clock.now += timedelta(minutes=1)
    claim(world, task)
    provision(world, task, epoch=2)

    ended = pass_time(world, task, BOOT, epoch=2)
    assert (ended["state"], ended["reason"]) == ("failed", "boot_timeout")


def test_the_time_to_start_counts_from_the_launchers_report_that_it_makes_the_machine(world: World) -> None:
    task = held(world)
    assert pass_time(world, task, BOOT - timedelta(seconds=1))["state"] == "claimed"
    provision(world, task)

    assert pass_time(world, task, BOOT - timedelta(seconds=1))["state"] == "provisioning"
    assert pass_time(world, task, timedelta(seconds=1))["state"] == "queued"


def test_a_task_that_runs_too_long_fails_and_its_machine_is_stopped(world: World) -> None:
    task = running(world)

    assert pass_time(world, task, RUN - timedelta(seconds=1))["state"] == "running"
    ended = pass_time(world, task, timedelta(seconds=1))

    assert (ended["state"], ended["reason"]) == ("failed", "run_timeout")
    assert [stop["why"] for stop in world.heartbeat((task, 1))["stop"]] == ["finished"]


def test_a_machine_that_ends_with_0_and_without_completed_is_a_success_that_says_so(world: World) -> None:
    task = running(world)

    view = gone(world, task, 0).get_json()

    assert (view["state"], view["reason"], view["output"]) == ("succeeded", None, None)
    assert view["message"].startswith("Completed, unconfirmed: ")


@pytest.mark.parametrize("exit_code", [1, 137, None])
def test_a_machine_that_ends_otherwise_once_its_task_had_started_is_a_failure_and_no_retry(
    world: World, exit_code: int | None
) -> None:
    task = running(world)

    view = gone(world, task, exit_code).get_json()

    assert (view["state"], view["reason"]) == ("failed", "machine_exited")
    assert view["message"] == f"The machine ended by itself: {exit_code}."


@pytest.mark.parametrize("exit_code", [2, None])
def test_a_machine_that_ends_before_its_task_had_started_is_made_once_more(world: World, exit_code: int | None) -> None:
    task = held(world)
    provision(world, task)

    assert gone(world, task, exit_code).get_json()["state"] == "queued"

    world.clock.now += timedelta(minutes=1)
    claim(world, task)
    assert gone(world, task, exit_code, epoch=2).get_json()["state"] == "failed"


def test_a_machine_that_ends_with_0_before_its_task_had_started_is_not_made_again(world: World) -> None:
    """Both callbacks were lost, and its program says that it has done its work."""
    task = held(world)
    provision(world, task)

    assert gone(world, task, 0).get_json()["state"] == "succeeded"


@pytest.mark.parametrize(("callback", "state"), [("completed", "succeeded"), ("failed", "failed")])
@pytest.mark.parametrize("exit_code", [0, 1, None])
def test_the_end_of_a_machine_changes_nothing_after_its_workers_own_report(
    world: World, callback: str, state: str, exit_code: int | None
) -> None:
    task = running(world)
    report(world, task, callback)
    before = world.view(task)

    answer = gone(world, task, exit_code)

    assert (answer.status_code, world.view(task)) == (200, before)
    assert before["state"] == state


def test_a_repeat_of_the_report_that_a_machine_is_gone_is_answered_alike(world: World) -> None:
    task = running(world)
    body: dict[str, Any] = {"request_id": "gone-once", "exit_code": 0, "message": ""}

    first, again = (world.update(task, "machine_gone", **body) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.get_json() == again.get_json()


def test_only_the_holder_says_that_a_machine_is_gone(world: World) -> None:
    task = running(world)

    assert gone(world, task, 0, key=OTHER_LAUNCHER).status_code == 404
    assert gone(world, task, 0, epoch=2).status_code == 409
    assert world.view(task)["state"] == "running"


def test_a_cancelled_task_whose_machine_ends_is_cancelled_whatever_the_exit_code(world: World) -> None:
    for exit_code in (0, 143):
        task = running(world)
        assert world.post(f"/v1/orders/{task}/cancel").status_code == 200

        assert gone(world, task, exit_code).get_json()["state"] == "cancelled"


def test_the_end_of_the_machine_of_a_command_is_a_failed_attempt_as_before(world: World) -> None:
    task = held(world, TASK)
    world.call_back(task, "started")

    assert gone(world, task, 0).get_json()["state"] == "queued"


def test_a_task_without_output_never_had_one_also_after_its_retention(world: World) -> None:
    task = running(world)
    report(world, task, "completed")
    world.clock.now += timedelta(days=8)
    world.sweep()

    answer = world.get(f"/v1/orders/{task}/output")

    assert world.view(task)["discarded_at"] is not None
    assert (answer.status_code, answer.get_json()["detail"]) == (404, "The order succeeded, but has no output.")
