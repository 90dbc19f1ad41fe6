"""What executors report of their sessions, and what is read of it."""

from datetime import timedelta
from typing import Any

import pytest

from functions.domain.agent_sessions import MAX_PAGES, SESSION_TTL, SILENT_AFTER, WHOLE_PAGES
from functions.domain.refusals import Unavailable
from functions.engine import session_jobs
from functions.engine.agent_sessions import MAX_LISTED
from shared.domain.order import State
from tests.functions.jobs.sessions import (
    create,
    created,
    end,
    events,
    job,
    message,
    patch,
    ran,
    refusal,
    report,
    run,
    status,
)
from tests.functions.world import CLIENT, LAUNCHER, OTHER_LAUNCHER, STRANGER, World
from tests.meanwhile import Meanwhile

NO_SESSION = (404, "Session not found")
LARGE = "x" * 60_000
"""Two such events make a page."""


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


# Status, result, events


def test_a_session_s_result_is_the_text_of_the_last_message_of_its_assistant(world: World) -> None:
    created(world, "s-1")
    message(world, "s-1", "Summarise the notes", role="user")
    message(world, "s-1", "First.")
    report(
        world,
        "s-1",
        "message",
        role="assistant",
        content=[{"type": "text", "text": "One."}, {"type": "image", "data": [1]}, {"type": "text", "text": "Two."}],
    )
    message(world, "s-1", "Thanks", role="user")
    report(world, "s-1", "message", role="assistant", content=[])

    assert refusal(world.get("/sessions/s-1/result", LAUNCHER)) == (400, "Session not finished")
    assert report(world, "s-1", "session_stop", exit_code=0, reason="completed").get_json() == {"ok": True}
    assert status(world, "s-1") == "finished"
    assert world.get("/sessions/s-1/result", LAUNCHER).get_json() == {"result": "One.\nTwo."}


def test_a_finished_session_without_a_message_has_no_result(world: World) -> None:
    created(world, "s-1")
    report(world, "s-1", "session_stop")

    assert refusal(world.get("/sessions/s-1/result", LAUNCHER)) == (404, "No result found")
    assert refusal(world.get("/sessions/s-9/result", LAUNCHER)) == NO_SESSION
    assert status(world, "s-9") == "not_existent"


def test_events_come_back_as_they_were_sent(world: World) -> None:
    created(world, "s-1")
    sent: dict[str, Any] = {
        "tool_name": "Bash",
        "tool_input": {"lines": [[1, 2.5], {"": None}]},
        "tool_output": "é 🚀",
        "error": None,
    }
    report(world, "s-1", "session_start", at="2026-11-22T12:00:01")
    report(world, "s-1", "post_tool", at="2026-11-22T12:00:02", unknown="ignored", **sent)

    start, tool = events(world, "s-1")

    common = {"session_id": "s-1", "session_name": "survey-1"}
    assert start == {"event_type": "session_start", "timestamp": "2026-11-22T12:00:01", **common}
    assert tool == {"event_type": "post_tool", "timestamp": "2026-11-22T12:00:02", **common, **sent}


def test_an_event_of_another_session_than_its_address_names_is_refused(world: World) -> None:
    created(world, "s-1")
    event = {"event_type": "session_stop", "session_id": "s-2", "session_name": "survey-1", "timestamp": "now"}

    answer = world.post("/sessions/s-1/events", event, LAUNCHER)

    assert refusal(answer) == (400, "Event session_id must match URL session_id")
    assert refusal(report(world, "s-2", "session_stop")) == NO_SESSION
    assert (events(world, "s-1"), status(world, "s-1")) == ([], "running")


def test_an_event_that_is_sent_twice_is_kept_once(world: World) -> None:
    created(world, "s-1")
    for _ in range(2):
        report(world, "s-1", "pre_tool", at="2026-11-22T12:00:01", tool_name="Bash")

    assert len(events(world, "s-1")) == 1


def test_an_event_that_is_too_large_is_refused_and_the_session_goes_on(world: World) -> None:
    created(world, "s-1")

    assert report(world, "s-1", "post_tool", tool_output="x" * 128 * 1024).status_code == 413
    assert message(world, "s-1", "x" * 127 * 1024).status_code == 200
    report(world, "s-1", "session_stop")
    assert len(world.get("/sessions/s-1/result", LAUNCHER).get_json()["result"]) == 127 * 1024


def test_an_event_that_is_too_large_to_store_is_refused(world: World) -> None:
    """JSON has short forms of long numbers: 1e15 is stored as 1000000000000000.0."""
    created(world, "s-1")
    event = '{"event_type":"post_tool","session_id":"s-1","session_name":"n","timestamp":"t","tool_output":[%s]}'
    headers = {"Authorization": f"Bearer {LAUNCHER}", "Content-Type": "application/json"}

    answer = world.http.post("/sessions/s-1/events", data=event % ",".join(["1e15"] * 8000), headers=headers)

    assert answer.status_code == 413
    assert events(world, "s-1") == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", str(2**70)])
def test_an_event_with_any_number_leaves_the_list_of_events_readable(world: World, number: str) -> None:
    created(world, "s-1")
    event = '{"event_type":"post_tool","session_id":"s-1","session_name":"n","timestamp":"t","tool_output":[%s]}'
    headers = {"Authorization": f"Bearer {LAUNCHER}", "Content-Type": "application/json"}

    accepted = world.http.post("/sessions/s-1/events", data=event % number, headers=headers).status_code == 200

    answer = world.get("/sessions/s-1/events", LAUNCHER)
    assert len(answer.get_json()["events"]) == accepted
    assert b"NaN" not in answer.get_data()
    assert b"Infinity" not in answer.get_data()


def test_old_events_of_tools_are_dropped_and_messages_are_kept(world: World) -> None:
    created(world, "s-1")
    message(world, "s-1", "The first message.")
    for _ in range(2 * WHOLE_PAGES + 6):
        report(world, "s-1", "post_tool", tool_output=LARGE)

    kept = events(world, "s-1")

    assert kept[0]["content"] == [{"type": "text", "text": "The first message."}]
    assert len(kept) <= 2 * WHOLE_PAGES + 1
    assert [one["event_type"] for one in kept[1:]] == ["post_tool"] * (len(kept) - 1)
    assert len(kept) > 2 * WHOLE_PAGES - 2


def test_a_session_keeps_a_limited_number_of_pages_of_messages(world: World) -> None:
    created(world, "s-1")
    for number in range(2 * MAX_PAGES + 9):
        message(world, "s-1", f"{number} {LARGE}")

    kept = [one["content"][0]["text"].split()[0] for one in events(world, "s-1")]

    assert len(world.ports.agent_session_events.all(1000)) == MAX_PAGES
    assert kept == [str(number) for number in range(2 * MAX_PAGES + 9 - len(kept), 2 * MAX_PAGES + 9)]
    assert len(kept) > 2 * MAX_PAGES - 3


def test_the_slower_of_two_events_that_need_a_new_page_does_not_lead_back_to_it(
    world: World, meanwhile: Meanwhile
) -> None:
    created(world, "s-1")
    for number in range(2):
        report(world, "s-1", "post_tool", tool_output=f"{number} {LARGE}")
    meanwhile(
        world.ports.agent_sessions,
        "change",
        lambda: [report(world, "s-1", "post_tool", tool_output=f"{number} {LARGE}") for number in range(3, 5)],
    )

    report(world, "s-1", "post_tool", tool_output=f"2 {LARGE}")

    [session] = world.ports.agent_sessions.all(10)
    assert session.last_page == 2


# The ways in which a session begins to run again, and ends


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


def test_a_removal_that_failed_half_way_can_be_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    created(world, "s-1")
    message(world, "s-1", "Secret.")

    def fail(*_: object) -> None:
        raise Unavailable("The store does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(world.ports.agent_sessions, "take", fail)
        assert world.delete("/sessions/s-1", LAUNCHER).status_code == 503

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
