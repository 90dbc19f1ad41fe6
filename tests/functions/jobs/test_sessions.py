"""Sessions are created, found, kept apart by account, and removed."""

from datetime import timedelta
from typing import Any

import pytest

from functions.domain.agent_sessions import SESSION_TTL
from functions.domain.refusals import Unavailable
from functions.engine import session_jobs
from functions.engine.agent_sessions import MAX_LISTED
from tests.functions.jobs.sessions import (
    LARGE,
    NO_SESSION,
    create,
    created,
    end,
    events,
    job,
    message,
    patch,
    ran,
    refusal,
    run,
    status,
)
from tests.functions.world import CLIENT, LAUNCHER, OTHER_LAUNCHER, STRANGER, World
from tests.meanwhile import Failing, Meanwhile


def test_a_session_is_created_listed_and_got_by_id_and_by_name(world: World) -> None:
    answer = create(world, "s-1", project_dir="/srv/work", agent_name="researcher")

    session = {
        "session_id": "s-1",
        "session_name": "survey-1",
        "status": "running",
        "created_at": "2026-11-22T12:00:00+00:00",
        "last_resumed_at": None,
        "project_dir": "/srv/work",
        "agent_name": "researcher",
        "parent_session_name": None,
    }
    assert (answer.status_code, answer.get_json()) == (200, {"ok": True, "session": session})
    assert world.get("/sessions", LAUNCHER).get_json() == {"sessions": [session]}
    assert world.get("/sessions/s-1", LAUNCHER).get_json() == {"session": session}
    assert world.get("/sessions/by-name/survey-1", LAUNCHER).get_json() == {"session": session}


def test_a_session_exists_once_in_its_account_and_another_account_may_have_the_same_id(world: World) -> None:
    created(world, "s-1")

    assert refusal(create(world, "s-1", "another")) == (409, "Session already exists")
    assert create(world, "s-1", key=OTHER_LAUNCHER).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"session_id": ""},
        {"session_id": "a/b"},
        {"session_id": "s" * 201},
        {"session_name": "with space"},
        {"session_name": "n" * 61},
        {"project_dir": "/" * 4097},
    ],
)
def test_a_session_that_breaks_the_rules_is_refused_with_the_field(world: World, wrong: dict[str, Any]) -> None:
    answer = world.post("/sessions", {"session_id": "s-1", "session_name": "survey-1", **wrong}, LAUNCHER)

    assert answer.status_code == 422
    assert [error["loc"] for error in answer.get_json()["detail"]] == [["body", *wrong]]


@pytest.mark.parametrize("session_id", ["0b6f9c1e-93ba-4e29-9834-be9c7b646c5d", "_x", "a.b:c@d=e+f~g"])
def test_an_id_of_the_executor_s_own_form_is_found_by_its_path(world: World, session_id: str) -> None:
    created(world, session_id)

    assert status(world, session_id) == "running"


@pytest.mark.parametrize("name", ["_x", "-x", "9", "n" * 60])
def test_every_name_that_a_session_may_have_is_found_by_its_path(world: World, name: str) -> None:
    created(world, "s-1", name)

    assert world.get(f"/sessions/by-name/{name}", LAUNCHER).get_json()["session"]["session_id"] == "s-1"


def test_of_several_sessions_of_a_name_the_newest_is_got(world: World) -> None:
    created(world, "s-1")
    world.clock.now += timedelta(seconds=1)
    created(world, "s-2")

    assert world.get("/sessions/by-name/survey-1", LAUNCHER).get_json()["session"]["session_id"] == "s-2"


def test_a_list_has_the_newest_sessions_only(world: World) -> None:
    for number in range(MAX_LISTED + 1):
        created(world, f"s-{number}")
        world.clock.now += timedelta(seconds=1)

    listed = world.get("/sessions", LAUNCHER).get_json()["sessions"]

    assert [session["session_id"] for session in listed] == [f"s-{number}" for number in range(MAX_LISTED, 0, -1)]


# Whose session it is


def test_a_session_belongs_to_the_account_of_its_job_and_its_executor_reaches_it_too(world: World) -> None:
    run(world, job(world, "survey-1", parent="boss"))
    created(world, "s-1", parent_session_name="somebody")

    created(world, "s-2", key=CLIENT, parent_session_name="somebody")
    assert world.get("/sessions/s-2").get_json()["session"]["parent_session_name"] == "boss"
    assert world.delete("/sessions/s-2").status_code == 200

    for key in (CLIENT, LAUNCHER):
        assert world.get("/sessions/s-1", key).get_json()["session"]["parent_session_name"] == "boss"
        assert world.get("/sessions/by-name/survey-1", key).status_code == 200
    assert [one["session_id"] for one in world.get("/sessions", CLIENT).get_json()["sessions"]] == ["s-1"]
    assert world.get("/sessions", LAUNCHER).get_json() == {"sessions": []}
    assert message(world, "s-1", "Done.").status_code == 200
    assert patch(world, "s-1", CLIENT, agent_name="writer").status_code == 200


def test_only_a_job_that_a_launcher_of_the_account_has_gives_a_session_its_account(world: World) -> None:
    waiting = job(world, "survey-1", parent="boss")
    created(world, "s-1", parent_session_name="somebody")
    run(world, waiting)
    created(world, "s-2", key=OTHER_LAUNCHER)

    assert world.get("/sessions/s-1", CLIENT).status_code == 404
    assert world.get("/sessions/s-1", LAUNCHER).get_json()["session"]["parent_session_name"] == "somebody"
    assert world.get("/sessions/s-2", CLIENT).status_code == 404


def test_two_accounts_jobs_of_one_name_each_have_their_own_session(world: World) -> None:
    run(world, job(world, "survey-1", key=STRANGER))
    created(world, "s-1")
    ours = job(world, "survey-1")
    run(world, ours)

    assert world.get("/sessions/by-name/survey-1", STRANGER).status_code == 200
    assert world.get("/sessions/by-name/survey-1", CLIENT).status_code == 404


def test_a_session_whose_name_has_running_jobs_of_two_accounts_is_given_to_neither(world: World) -> None:
    """Its executor names no job: it may be of either."""
    run(world, job(world, "survey-1", key=STRANGER))
    run(world, ours := job(world, "survey-1", parent="boss"))

    created(world, "s-1")
    message(world, "s-1", "A secret of one of the two.")

    for key in (CLIENT, STRANGER):
        assert refusal(world.get("/sessions/s-1", key)) == NO_SESSION
        assert refusal(world.get("/sessions/by-name/survey-1", key)) == NO_SESSION
    session = world.get("/sessions/by-name/survey-1", LAUNCHER).get_json()["session"]
    assert (session["session_id"], session["parent_session_name"]) == ("s-1", None)
    end(world, ours)
    created(world, "s-2")
    assert world.get("/sessions/s-2", STRANGER).status_code == 200


def test_a_session_is_the_launcher_s_own_if_its_job_is_among_too_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_jobs, "MAX_READ", 2)
    monkeypatch.setattr(session_jobs, "PAGE", 1)
    run(world, job(world, "survey-1"))
    run(world, job(world, "survey-1"))
    created(world, "s-1")
    run(world, job(world, "survey-1"))
    created(world, "s-2")

    assert world.get("/sessions/s-1", CLIENT).status_code == 200
    assert refusal(world.get("/sessions/s-2", CLIENT)) == NO_SESSION
    assert world.get("/sessions/s-2", LAUNCHER).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sessions/s-1"),
        ("GET", "/sessions/by-name/survey-1"),
        ("GET", "/sessions/s-1/result"),
        ("GET", "/sessions/s-1/events"),
        ("DELETE", "/sessions/s-1"),
        ("POST", "/sessions/s-1/stop"),
    ],
)
@pytest.mark.parametrize("key", [STRANGER, OTHER_LAUNCHER])
def test_another_account_s_session_does_not_exist(world: World, method: str, path: str, key: str) -> None:
    run(world, job(world, "survey-1"))
    created(world, "s-1")

    answer = world.http.open(path, method=method, headers={"Authorization": f"Bearer {key}"})

    assert refusal(answer) == NO_SESSION
    assert status(world, "s-1", key) == "not_existent"
    assert refusal(message(world, "s-1", "Mine.", key=key)) == NO_SESSION
    assert refusal(patch(world, "s-1", key, agent_name="mine")) == NO_SESSION
    assert status(world, "s-1") == "running"


# Removal


def test_a_removed_session_leaves_nothing_and_one_with_its_id_begins_anew(world: World) -> None:
    created(world, "s-1")
    message(world, "s-1", "Secret.")

    assert world.delete("/sessions/s-1", LAUNCHER).get_json() == {"ok": True, "session_id": "s-1"}
    assert refusal(world.delete("/sessions/s-1", LAUNCHER)) == NO_SESSION
    assert world.ports.agent_session_events.all(10) == []
    world.clock.now += timedelta(seconds=1)
    created(world, "s-1")
    assert events(world, "s-1") == []


def test_a_removal_that_failed_half_way_can_be_repeated(world: World, failing: Failing) -> None:
    created(world, "s-1")
    message(world, "s-1", "Secret.")

    mend = failing(world.ports.agent_sessions, "take", Unavailable("The store does not answer."))
    assert world.delete("/sessions/s-1", LAUNCHER).status_code == 503
    mend()

    assert world.delete("/sessions/s-1", LAUNCHER).status_code == 200
    assert world.ports.agent_session_events.all(10) == []


def test_a_removed_session_leaves_no_page_whose_writer_died_before_the_session_knew_of_it(
    world: World, meanwhile: Meanwhile
) -> None:
    def die() -> None:
        raise Unavailable("The store does not answer.")

    created(world, "s-1")
    message(world, "s-1", f"1 {LARGE}")
    message(world, "s-1", f"2 {LARGE}")
    meanwhile(world.ports.agent_sessions, "change", die)
    assert message(world, "s-1", f"3 {LARGE}").status_code == 503
    assert len(world.ports.agent_session_events.all(10)) == 2

    assert world.delete("/sessions/s-1", LAUNCHER).status_code == 200

    assert world.ports.agent_session_events.all(10) == []


def test_the_sweep_forgets_sessions_long_after_their_last_event(world: World) -> None:
    created(world, "s-1")
    message(world, "s-1", "Old.")
    world.clock.now += SESSION_TTL - timedelta(days=1)
    created(world, "s-2")
    world.clock.now += timedelta(days=2)

    swept = world.sweep()

    assert swept["records_forgotten"] == 1
    assert status(world, "s-1") == "not_existent"
    assert world.get("/sessions/s-2", LAUNCHER).status_code == 200
    assert world.ports.agent_session_events.all(10) == []


def test_a_session_s_last_jobs_are_found_among_many_of_other_names(world: World) -> None:
    run(world, job(world, "survey-1"))
    created(world, "s-1")
    for number in range(60):
        ran(world, f"other-{number}")

    assert status(world, "s-1") == "running"
