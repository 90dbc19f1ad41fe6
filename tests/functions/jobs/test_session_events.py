"""The events that executors report of their sessions, and the results that are read from them."""

from typing import Any

import pytest

from functions.domain.agent_sessions import MAX_PAGES, WHOLE_PAGES
from tests.functions.jobs.sessions import (
    LARGE,
    NO_SESSION,
    created,
    events,
    message,
    refusal,
    report,
    status,
)
from tests.functions.world import LAUNCHER, World
from tests.meanwhile import Meanwhile


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
