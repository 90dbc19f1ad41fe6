"""Launchers register, are listed, and deregister themselves or are deregistered."""

import re
from datetime import timedelta
from typing import Any, Final

import pytest

from tests.functions.jobs.client import METADATA, OK, Launcher, create, get, listed, register, status
from tests.functions.world import ADMIN, CLIENT, LAUNCHER, OTHER_LAUNCHER, World

LAUNCHER_ID: Final = re.compile(r"lnch_[0-9a-f]{12}")
NOT_REGISTERED: Final = (401, {"detail": "Launcher not registered"})
NOT_FOUND: Final = (404, {"detail": "Launcher not found"})


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"hostname": null}', b'{"unknown": [1]}'])
def test_a_launcher_may_register_without_a_word_about_itself(world: World, body: bytes) -> None:
    answer = world.http.post("/launcher/register", data=body, headers={"Authorization": f"Bearer {LAUNCHER}"})

    assert answer.status_code == 200
    launcher_id = answer.get_json().pop("launcher_id")
    assert LAUNCHER_ID.fullmatch(launcher_id)
    assert answer.get_json() == {
        "launcher_id": launcher_id,
        "poll_endpoint": "/launcher/jobs",
        "poll_timeout_seconds": 30,
        "heartbeat_interval_seconds": 60,
    }


def test_a_launcher_is_listed_with_what_it_said(world: World) -> None:
    launcher = register(world, **METADATA, labels=["gpu"])
    other = register(world)
    world.clock.now += timedelta(seconds=30, milliseconds=500)

    views = listed(world)

    assert views[launcher.id] == {
        "launcher_id": launcher.id,
        "registered_at": "2026-11-22T12:00:00+00:00",
        "last_heartbeat": "2026-11-22T12:00:00+00:00",
        **METADATA,
        "labels": ["executor=test-executor", "gpu", "host=bench-2"],
        "status": "online",
        "seconds_since_heartbeat": 30.5,
    }
    assert {name: views[other.id][name] for name in METADATA} == dict.fromkeys(METADATA)
    assert views[other.id]["labels"] == []


@pytest.mark.parametrize(
    ("metadata", "labels"),
    [
        ({"hostname": "Bench.LOCAL"}, ["host=bench.local"]),
        ({"hostname": "a host with blanks"}, []),
        ({"hostname": "h" * 60}, []),
        ({"hostname": ""}, ["host="]),
        ({"labels": ["b", "a", "b"]}, ["a", "b"]),
    ],
)
def test_a_name_that_has_the_form_of_a_label_is_one(world: World, metadata: dict[str, Any], labels: list[str]) -> None:
    launcher = register(world, **metadata)

    assert listed(world)[launcher.id]["labels"] == labels


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ('{"hostname": 7}', ["body", "hostname"]),
        ('{"labels": ["Has Blanks"]}', ["body", "labels", 0]),
        ('{"labels": ["a", "b", "c", "d", "e", "f", "g"]}', ["body", "labels"]),
        ("[]", ["body"]),
        ("{", ["body"]),
    ],
)
def test_a_wrong_registration_names_what_is_wrong(world: World, body: str, loc: list[object]) -> None:
    answer = world.http.post("/launcher/register", data=body, headers={"Authorization": f"Bearer {LAUNCHER}"})

    assert answer.status_code == 422
    (wrong,) = answer.get_json()["detail"]
    assert wrong["loc"] == loc
    assert wrong.keys() == {"type", "loc", "msg"}


@pytest.mark.parametrize("itself", ["true", "True", "1"])
def test_a_launcher_that_deregisters_itself_is_gone_at_once(world: World, launcher: Launcher, itself: str) -> None:
    answer = world.delete(f"/launchers/{launcher.id}?self={itself}", LAUNCHER)

    assert answer.status_code == 200
    assert answer.get_json() == {"ok": True, "message": "Launcher deregistered", "initiated_by": "self"}
    assert listed(world) == {}
    assert (launcher.poll().status_code, launcher.poll().get_json()) == NOT_REGISTERED
    again = launcher.deregister()
    assert (again.status_code, again.get_json()) == NOT_FOUND


def test_a_launcher_that_is_deregistered_learns_it_once_and_is_gone_then(world: World, launcher: Launcher) -> None:
    for _ in range(2):
        answer = launcher.deregister(itself=False, key=ADMIN)
        assert (answer.status_code, answer.get_json()["initiated_by"]) == (200, "external")
    assert launcher.id in listed(world)

    assert launcher.command_or_job() == {"deregistered": True}

    assert listed(world) == {}
    assert (launcher.poll().status_code, launcher.poll().get_json()) == NOT_REGISTERED


def test_a_deregistered_launcher_gets_no_job(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    launcher.deregister(itself=False, key=ADMIN)

    assert launcher.command_or_job() == {"deregistered": True}
    assert status(world, job_id) == "pending"


@pytest.mark.parametrize("itself", [True, False])
def test_the_running_jobs_of_a_deregistered_launcher_fail_and_the_others_are_queued_again(
    world: World, launcher: Launcher, itself: bool
) -> None:
    for _ in range(2):
        create(world)
    running, claimed = launcher.run(), launcher.take()

    launcher.deregister(itself)
    if not itself:
        assert status(world, running) == "running"  # until it learns of it, it goes on
        launcher.command_or_job()

    job = get(world, running)
    assert job["status"] == "failed"
    assert job["error"].startswith(f"The launcher {launcher.id} was deregistered while the job ran.")
    assert "resume its session" in job["error"]
    world.clock.now += timedelta(seconds=66)
    world.sweep()
    assert status(world, claimed) == "pending"


def test_a_launcher_belongs_to_the_account_that_registered_it(world: World, launcher: Launcher) -> None:
    thief = Launcher(world, launcher.id, OTHER_LAUNCHER)

    for answer in (thief.poll(), thief.heartbeat(), thief.report("job_1", "started")):
        assert (answer.status_code, answer.get_json()) == NOT_REGISTERED
    for key, itself in ((OTHER_LAUNCHER, True), (OTHER_LAUNCHER, False), (CLIENT, False)):
        answer = launcher.deregister(itself, key)
        assert (answer.status_code, answer.get_json()) == NOT_FOUND
    assert listed(world, OTHER_LAUNCHER) == listed(world, CLIENT) == {}
    assert launcher.id in listed(world, ADMIN)
    assert launcher.heartbeat().get_json() == OK


def test_a_heartbeat_of_an_unknown_launcher_is_refused(world: World) -> None:
    answer = Launcher(world, "lnch_0123456789ab").heartbeat()

    assert (answer.status_code, answer.get_json()) == NOT_REGISTERED
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_heartbeat_without_its_launcher_is_wrong(world: World) -> None:
    answer = world.post("/launcher/heartbeat", {}, LAUNCHER)

    assert answer.status_code == 422
    assert answer.get_json()["detail"][0] == {
        "type": "missing",
        "loc": ["body", "launcher_id"],
        "msg": "Field required",
    }
