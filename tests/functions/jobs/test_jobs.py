"""Clients create jobs, follow them, and stop them."""

import re
from datetime import timedelta
from typing import Any, Final

import pytest

from shared.domain.order import State
from tests.functions.jobs.client import STALE_AFTER, START, Launcher, create, fall_silent, get, register, status, stop
from tests.functions.jobs.sessions import created
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, STRANGER, World
from tests.meanwhile import Meanwhile

JOB_ID: Final = re.compile(r"job_[0-9a-f]{12}")
NO_JOB: Final = (404, {"detail": "Job not found"})


def test_a_new_job_is_pending(world: World) -> None:
    answer = world.post("/jobs", {**START, "unknown": True})

    assert answer.status_code == 200
    job_id = answer.get_json()["job_id"]
    assert JOB_ID.fullmatch(job_id)
    assert answer.get_json() == {"job_id": job_id, "status": "pending"}
    assert get(world, job_id) == {
        "job_id": job_id,
        **START,
        "agent_name": None,
        "project_dir": None,
        "parent_session_name": None,
        "status": "pending",
        "launcher_id": None,
        "error": None,
        "created_at": "2026-11-22T12:00:00+00:00",
        "claimed_at": None,
        "started_at": None,
        "completed_at": None,
    }
    assert world.bells.rung == [job_id]


def test_a_session_is_resumed_by_a_job_of_its_own_type(world: World, launcher: Launcher) -> None:
    job_id = create(world, type="resume_session", prompt="")

    assert (get(world, job_id)["type"], get(world, job_id)["prompt"]) == ("resume_session", "")
    assert launcher.command_or_job()["job"]["type"] == "resume_session"


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"type": "stop_session"}, ["body", "type"]),
        ({"type": None}, ["body", "type"]),
        ({"session_name": ""}, ["body", "session_name"]),
        ({"session_name": "has blanks"}, ["body", "session_name"]),
        ({"session_name": "n" * 61}, ["body", "session_name"]),
        ({"prompt": "x" * 65_537}, ["body", "prompt"]),
        ({"prompt": None}, ["body", "prompt"]),
        ({"agent_name": "-leading"}, ["body", "agent_name"]),
        ({"agent_name": "a" * 61}, ["body", "agent_name"]),
        ({"project_dir": "relative/path"}, ["body", "project_dir"]),
        ({"parent_session_name": "a/b"}, ["body", "parent_session_name"]),
        ({"labels": ["a", "b", "c", "d"]}, ["body", "labels"]),
        ({"labels": ["UPPER"]}, ["body", "labels", 0]),
    ],
)
def test_a_wrong_field_is_named(world: World, change: dict[str, Any], loc: list[object]) -> None:
    answer = world.post("/jobs", START | change)

    assert answer.status_code == 422
    assert [wrong["loc"] for wrong in answer.get_json()["detail"]] == [loc]
    assert world.get("/v1/orders").get_json()["orders"] == []


@pytest.mark.parametrize("field", ["type", "session_name", "prompt"])
def test_a_missing_field_is_named(world: World, field: str) -> None:
    answer = world.post("/jobs", {name: value for name, value in START.items() if name != field})

    assert answer.status_code == 422
    assert answer.get_json()["detail"] == [{"type": "missing", "loc": ["body", field], "msg": "Field required"}]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"type": "start_session"', b"[" * 50_000])
def test_a_body_that_is_no_job_is_wrong(world: World, body: bytes) -> None:
    answer = world.http.post("/jobs", data=body, headers={"Authorization": f"Bearer {CLIENT}"})

    assert answer.status_code == 422
    assert answer.get_json()["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize("prompt", ["🚀" * 65_536, "\x01" * 65_536])
def test_the_longest_prompt_arrives_whole(world: World, launcher: Launcher, prompt: str) -> None:
    create(world, prompt=prompt)

    assert launcher.command_or_job()["job"]["prompt"] == prompt


def test_a_repeat_with_one_idempotency_key_is_one_job(world: World) -> None:
    key = {"Idempotency-Key": "one"}
    first = world.post("/jobs", START, headers=key).get_json()

    assert world.post("/jobs", START, headers=key).get_json() == first
    assert world.post("/jobs", START | {"prompt": "Another"}, headers=key).status_code == 409
    assert world.post("/jobs", START).get_json()["job_id"] != first["job_id"]
    assert world.post("/jobs", START, STRANGER, key).get_json()["job_id"] != first["job_id"]


def test_a_job_is_its_account_s_own(world: World) -> None:
    job_id = create(world)

    for key, path in (
        (STRANGER, job_id),
        (CLIENT, "job_0123456789ab"),
        (CLIENT, "a%20b"),
        (CLIENT, world.place()["id"]),
    ):
        answer = world.get(f"/jobs/{path}", key)
        assert (answer.status_code, answer.get_json()) == NO_JOB
        answer = world.post(f"/jobs/{path}/stop", key=key)
        assert (answer.status_code, answer.get_json()) == NO_JOB
    assert get(world, job_id, ADMIN)["job_id"] == job_id
    assert world.get(f"/jobs/{job_id}", LAUNCHER).status_code == 403


def test_there_is_no_list_of_jobs(world: World) -> None:
    answer = world.get("/jobs")

    assert (answer.status_code, answer.get_json()) == (405, {"detail": "Method Not Allowed"})


def test_a_pending_job_is_stopped_at_once(world: World, launcher: Launcher) -> None:
    job_id = create(world)

    answer = stop(world, job_id)

    assert (answer.status_code, answer.get_json()) == (
        200,
        {
            "ok": True,
            "job_id": job_id,
            "session_name": "survey-1",
            "status": "stopped",
            "message": "Job cancelled before execution",
        },
    )
    job = get(world, job_id)
    assert (job["status"], job["error"]) == ("stopped", None)
    assert job["completed_at"] is not None
    assert launcher.command_or_job() == {}


@pytest.mark.parametrize("started", [True, False])
def test_a_job_that_a_launcher_has_is_stopping_until_it_reports(
    world: World, launcher: Launcher, started: bool
) -> None:
    job_id = create(world)
    _ = launcher.run() if started else launcher.take()

    answer = stop(world, job_id)

    assert (answer.status_code, answer.get_json()) == (
        200,
        {"ok": True, "job_id": job_id, "session_name": "survey-1", "status": "stopping"},
    )
    assert (status(world, job_id), get(world, job_id)["completed_at"]) == ("stopping", None)
    assert launcher.command_or_job() == {"stop_jobs": [job_id]}


def test_a_stop_names_the_session_if_its_executor_has_reported_one(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    launcher.run()
    created(world, "s-1", "survey-1")

    assert stop(world, job_id).get_json()["session_id"] == "s-1"


@pytest.mark.parametrize("state", ["stopping", "completed", "failed", "stopped"])
def test_a_job_that_has_ended_or_is_stopping_cannot_be_stopped(world: World, launcher: Launcher, state: str) -> None:
    job_id = create(world)
    launcher.run()
    if state in ("stopping", "stopped"):
        stop(world, job_id)
    if state != "stopping":
        launcher.report(job_id, state)

    answer = stop(world, job_id)

    assert status(world, job_id) == state
    assert (answer.status_code, answer.get_json()) == (400, {"detail": f"Job cannot be stopped (status: {state})"})


def test_a_job_that_expired_cannot_be_stopped(world: World) -> None:
    job_id = create(world)
    world.clock.now = world.order(job_id).expires_at
    world.sweep()

    assert stop(world, job_id).get_json() == {"detail": "Job cannot be stopped (status: failed)"}
    assert world.order(job_id).state is State.EXPIRED
    assert get(world, job_id)["error"] == "No launcher ran it in time."


def test_a_job_whose_launcher_is_gone_cannot_be_stopped_until_it_waits_again(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    launcher.take()
    launcher.deregister()

    answer = stop(world, job_id)

    assert (answer.status_code, answer.get_json()) == (500, {"detail": "Failed to queue stop command"})
    world.lapse(job_id)
    assert stop(world, job_id).get_json()["status"] == "stopped"


def test_a_launcher_that_did_not_register_here_is_told_by_its_heartbeats(world: World) -> None:
    job_id = create(world)
    claimed = world.claim(job_id)
    assert claimed is not None

    assert stop(world, job_id).get_json()["status"] == "stopping"
    assert get(world, job_id)["launcher_id"] == "alpha"
    assert [one["why"] for one in world.heartbeat((job_id, claimed["epoch"]))["stop"]] == ["cancelled"]


def test_a_job_that_is_claimed_while_it_is_stopped_is_stopping(
    world: World, launcher: Launcher, meanwhile: Meanwhile
) -> None:
    job_id = create(world)
    meanwhile(world.ports.store, "apply", launcher.take)

    assert stop(world, job_id).get_json()["status"] == "stopping"


def test_a_job_that_ends_while_it_is_stopped_cannot_be_stopped(
    world: World, launcher: Launcher, meanwhile: Meanwhile
) -> None:
    job_id = create(world)
    launcher.run()
    meanwhile(world.ports.store, "apply", lambda: launcher.report(job_id, "completed"))

    assert stop(world, job_id).get_json() == {"detail": "Job cannot be stopped (status: completed)"}


def test_a_session_whose_launcher_was_lost_is_resumed_by_a_new_job(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    launcher.run()
    fall_silent(world, STALE_AFTER + timedelta(seconds=50))
    assert status(world, job_id) == "failed"

    resumed = create(world, type="resume_session")

    assert register(world).take() == resumed
