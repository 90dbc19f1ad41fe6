"""When a session begins to run again, and when it has ended or is stopped."""

from datetime import timedelta

import pytest

from functions.domain.agent_sessions import SILENT_AFTER
from shared.domain.order import State
from tests.functions.jobs.sessions import (
    NO_SESSION,
    created,
    end,
    job,
    patch,
    refusal,
    report,
    run,
    status,
)
from tests.functions.world import CLIENT, LAUNCHER, World
from tests.meanwhile import Meanwhile


def test_a_resumed_session_runs_again(world: World) -> None:
    created(world, "s-1")
    report(world, "s-1", "session_stop")

    answer = patch(world, "s-1", last_resumed_at="2026-11-22T13:00:00+00:00", session_name="survey-2", agent_name=None)

    session = answer.get_json()["session"]
    assert answer.get_json()["ok"] is True
    assert (session["status"], session["last_resumed_at"]) == ("running", "2026-11-22T13:00:00+00:00")
    assert (session["session_name"], session["agent_name"]) == ("survey-2", None)
    assert world.get("/sessions/by-name/survey-2", LAUNCHER).status_code == 200
    assert refusal(world.get("/sessions/by-name/survey-1", LAUNCHER)) == NO_SESSION


def test_a_start_event_sets_a_finished_session_running(world: World) -> None:
    created(world, "s-1")
    report(world, "s-1", "session_stop")
    report(world, "s-1", "session_start")

    assert status(world, "s-1") == "running"


def test_another_change_of_a_finished_session_leaves_it_finished(world: World) -> None:
    created(world, "s-1")
    report(world, "s-1", "session_stop")

    assert patch(world, "s-1", project_dir="/srv/other").get_json()["session"]["status"] == "finished"


@pytest.mark.parametrize("settle", [True, False])
def test_a_session_ends_with_its_job_even_if_its_executor_reported_nothing(world: World, settle: bool) -> None:
    """It was killed, perhaps with its launcher."""
    order_id = job(world, "survey-1")
    run(world, order_id)
    created(world, "s-1")
    assert status(world, "s-1") == "running"
    world.clock.now += timedelta(minutes=1)
    end(world, order_id, "failed", settle)

    assert status(world, "s-1") == "finished"
    assert world.get("/sessions/s-1", CLIENT).get_json()["session"]["status"] == "finished"


def test_a_session_goes_on_while_a_launcher_has_a_job_of_it_though_another_has_ended(world: World) -> None:
    run(world, running := job(world, "survey-1"))
    created(world, "s-1")
    run(world, other := job(world, "survey-1"))
    world.clock.now += timedelta(seconds=1)
    world.post(f"/v1/orders/{job(world, 'survey-1')}/cancel")
    end(world, other, "failed")
    assert status(world, "s-1") == "running"

    world.clock.now += timedelta(seconds=1)
    waiting = job(world, "survey-1")
    end(world, running)

    assert status(world, "s-1") == "finished"
    assert world.order(waiting).state is State.QUEUED


def test_a_list_shows_that_a_session_has_ended_with_its_job(world: World) -> None:
    run(world, order_id := job(world, "survey-1"))
    created(world, "s-1")
    end(world, order_id, "failed")

    assert [session["status"] for session in world.get("/sessions").get_json()["sessions"]] == ["finished"]


def test_a_session_that_was_resumed_after_its_job_ended_runs(world: World) -> None:
    run(world, order_id := job(world, "survey-1"))
    created(world, "s-1")
    end(world, order_id)
    world.clock.now += timedelta(minutes=1)
    patch(world, "s-1", last_resumed_at="2026-11-22T12:01:00+00:00")

    assert status(world, "s-1") == "running"


def test_a_session_that_is_resumed_while_its_end_is_recorded_runs(world: World, meanwhile: Meanwhile) -> None:
    run(world, order_id := job(world, "survey-1"))
    created(world, "s-1")
    end(world, order_id, settle=False)
    world.clock.now += timedelta(minutes=1)
    meanwhile(world.ports.agent_sessions, "change", lambda: patch(world, "s-1", last_resumed_at="2026-11-22T12:01"))

    assert world.get("/sessions/s-1", LAUNCHER).get_json()["session"]["status"] == "running"


def test_a_session_without_a_job_that_is_silent_for_a_day_has_ended(world: World) -> None:
    created(world, "s-1")
    world.clock.now += SILENT_AFTER - timedelta(minutes=1)
    report(world, "s-1", "pre_tool", tool_name="Bash")
    world.clock.now += SILENT_AFTER - timedelta(minutes=1)
    assert status(world, "s-1") == "running"
    world.clock.now += timedelta(minutes=1)

    assert status(world, "s-1") == "finished"


def test_a_session_whose_job_runs_for_days_runs_however_silent(world: World) -> None:
    run(world, job(world, "survey-1"))
    created(world, "s-1")
    world.clock.now += 2 * SILENT_AFTER

    assert status(world, "s-1") == "running"


# Stop


def test_stopping_a_session_stops_the_job_that_runs(world: World) -> None:
    run(world, running := job(world, "survey-1"))
    created(world, "s-1")
    world.clock.now += timedelta(seconds=1)
    waiting = job(world, "survey-1")

    answer = world.post("/sessions/s-1/stop")

    body = answer.get_json()
    assert (answer.status_code, body["ok"], body["status"], body["job_id"]) == (200, True, "stopping", running)
    assert (body["session_id"], body["session_name"]) == ("s-1", "survey-1")
    assert world.order(running).cancel_requested_at is not None
    assert world.order(waiting).state is State.QUEUED
    assert world.post("/sessions/s-1/stop").get_json()["status"] == "stopping"


def test_stopping_a_session_whose_job_waits_stops_that_at_once(world: World) -> None:
    run(world, first := job(world, "survey-1"))
    created(world, "s-1")
    end(world, first)
    world.clock.now += timedelta(seconds=1)
    waiting = job(world, "survey-1")

    body = world.post("/sessions/s-1/stop").get_json()

    assert (body["status"], body["message"], body["job_id"]) == ("stopped", "Job cancelled before execution", waiting)
    assert world.order(waiting).state is State.CANCELLED


def test_only_its_own_account_stops_a_session_and_not_the_launcher_that_runs_it(world: World) -> None:
    run(world, running := job(world, "survey-1"))
    created(world, "s-1")

    assert refusal(world.post("/sessions/s-1/stop", key=LAUNCHER)) == NO_SESSION
    assert world.order(running).cancel_requested_at is None


def test_stopping_a_session_that_has_stopped_says_so(world: World) -> None:
    run(world, order_id := job(world, "survey-1"))
    created(world, "s-1")
    end(world, order_id)

    answer = world.post("/sessions/s-1/stop")

    assert answer.status_code == 200
    assert answer.get_json()["ok"] is True
    assert (answer.get_json()["status"], answer.get_json()["job_id"]) == ("finished", None)
    assert refusal(world.post("/sessions/s-9/stop")) == NO_SESSION
