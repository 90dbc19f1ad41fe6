"""The callbacks of the contract of ephemeral workers: statuses, bodies, and what they change."""

import json
from typing import Any

import pytest

from shared.log_events import LogEvent
from tests.factories import CAPACITY, EXPORT
from tests.functions.tasks.calls import BASE, FAILED, address, claim, held, held_as, open_callbacks, report, send
from tests.functions.world import CLIENT, World

OK = {"ok": True}
IGNORED = {"ok": True, "ignored": True}


def events(captured: pytest.CaptureFixture[str], event: LogEvent = LogEvent.CALLBACK_IGNORED) -> list[dict[str, Any]]:
    """Return the log's lines of this event."""
    lines = (json.loads(line) for line in captured.readouterr().out.splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


def test_a_task_runs_once_its_worker_has_started_and_succeeds_without_output(world: World) -> None:
    task = held(world)

    started = report(world, task, "started")

    assert (started.status_code, started.get_json()) == (200, OK)
    assert world.view(task)["state"] == "running"

    completed = report(world, task, "completed")

    assert (completed.status_code, completed.get_json()) == (200, OK)
    view = world.view(task)
    assert (view["state"], view["output"], view["message"]) == ("succeeded", None, "done")
    no_output = world.get(f"/v1/orders/{task}/output", CLIENT)
    assert (no_output.status_code, no_output.get_json()["detail"]) == (404, "The order succeeded, but has no output.")


def test_completed_before_started_succeeds_at_once(world: World) -> None:
    task = held(world)

    assert report(world, task, "completed").get_json() == OK
    assert report(world, task, "started").get_json() == IGNORED
    assert world.view(task)["state"] == "succeeded"


def test_a_failure_ends_the_task_with_its_text_and_exit_code(world: World) -> None:
    task = held(world)
    report(world, task, "started")

    assert report(world, task, "failed").get_json() == OK

    view = world.view(task)
    assert (view["state"], view["reason"], view["message"]) == (
        "failed",
        "program_failed",
        "Exit code 3: no such file",
    )


def test_a_failure_needs_no_text_and_a_long_one_is_shortened(world: World) -> None:
    silent, noisy = held(world), held(world)

    assert send(world, address(world, silent, "failed"), {"task_id": silent}).get_json() == OK
    assert report(world, noisy, "failed", error="x" * 9000).get_json() == OK

    assert world.view(silent)["message"] == "the worker gave no reason."
    assert world.view(noisy)["message"] == f"Exit code 3: {'x' * 9000}"[:4000]


@pytest.mark.parametrize("callback", ["started", "completed", "failed"])
def test_a_repeat_is_answered_with_200_changes_nothing_and_is_logged(
    world: World, callback: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = held(world)
    assert report(world, task, callback).get_json() == OK
    before = world.view(task)

    again = report(world, task, callback)

    assert (again.status_code, again.get_json()) == (200, IGNORED)
    assert world.view(task) == before
    [line] = events(capsys)
    assert (line["order_id"], line["callback"], line["why"]) == (task, callback, "repeated")
    assert line["severity"] == "INFO"


@pytest.mark.parametrize(("first", "then"), [("completed", "failed"), ("failed", "completed"), ("failed", "started")])
def test_the_first_end_of_a_task_wins(world: World, first: str, then: str, capsys: pytest.CaptureFixture[str]) -> None:
    task = held(world)
    report(world, task, first)
    ended = world.view(task)

    late = report(world, task, then)

    assert (late.status_code, late.get_json()) == (200, IGNORED)
    assert world.view(task) == ended
    assert [line["callback"] for line in events(capsys)] == [then]


@pytest.mark.parametrize("callback", ["started", "completed", "failed"])
def test_the_worker_of_a_lost_attempt_changes_nothing_and_ends_in_peace(
    world: World, callback: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = held(world)
    world.lapse(task)
    waiting = report(world, task, callback)
    claim(world, task)

    held_again = report(world, task, callback, epoch=1)

    assert [(one.status_code, one.get_json()) for one in (waiting, held_again)] == [(200, IGNORED)] * 2
    assert world.view(task)["state"] == "claimed"
    assert len(events(capsys)) == 2
    assert report(world, task, callback, epoch=2).get_json() == OK


def test_a_forged_callback_is_answered_with_404_changes_nothing_and_is_logged(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    task, other = held(world), held(world)
    secret = world.ports.tokens.secret(other, 1)
    guesses = [secret, secret.replace("1_", "2_"), "1_", "1", secret.partition("_")[2].replace("_", "-") + "x"]

    answers = [send(world, f"{BASE}/{task}/{guess}/completed", {"task_id": task}) for guess in guesses]

    assert [answer.status_code for answer in answers] == [404] * len(guesses)
    assert all(list(answer.get_json()) == ["error"] for answer in answers)
    assert world.view(task)["state"] == "claimed"
    logged = [(line["order_id"], line["severity"]) for line in events(capsys)]
    assert logged == [(task, "WARNING")] * len(guesses)


def test_no_log_line_has_a_callbacks_secret(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    task = held(world)

    for body in ({"task_id": task}, {"task_id": "another"}, b"{"):
        send(world, address(world, task, "started"), body)
    send(world, address(world, task, "nonsense"), {"task_id": task})

    log = capsys.readouterr().out
    assert "/api/agents/callback/{task_id}/{secret}/{callback}" in log
    assert world.ports.tokens.issue(task, 1) not in log


@pytest.mark.parametrize("spec", [EXPORT, CAPACITY])
def test_only_a_task_is_reported_on_here(world: World, spec: Any) -> None:
    order_id = str(world.place(spec)["id"])
    assert world.claim(order_id) is not None

    assert report(world, order_id, "started").status_code == 404
    assert world.view(order_id)["state"] == "claimed"


def test_what_does_not_exist_is_answered_with_404(world: World) -> None:
    task = held(world)

    assert report(world, "no-such-task", "started").status_code == 404
    assert send(world, address(world, task, "progress"), {"task_id": task}).status_code == 404
    assert send(world, f"/api/agents/{task}", {}).get_json() == {"error": "There is nothing at this path."}
    assert world.http.get(address(world, task, "started")).status_code == 405


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "not a JSON document"),
        (b"", "not a JSON document"),
        (b"\xff", "UTF-8"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"{}", "task_id: Field required"),
        (b'{"task_id": 17}', "task_id: "),
        (b'{"task_id": null}', "task_id: "),
        (b'{"task_id": "another"}', "task_id: Send the id of the task in the path"),
    ],
)
def test_a_body_that_is_wrong_is_answered_with_400_and_names_the_field(world: World, body: bytes, error: str) -> None:
    held_as(world, "task-17")

    answer = send(world, address(world, "task-17", "started"), body)

    assert answer.status_code == 400
    assert error in answer.get_json()["error"]
    assert world.view("task-17")["state"] == "claimed"


def test_a_body_over_64_kib_is_answered_with_413(world: World) -> None:
    task = held(world)
    body = {"task_id": task, "message": "x" * 64 * 1024}

    assert send(world, address(world, task, "completed"), body).status_code == 413
    assert world.view(task)["state"] == "claimed"


def test_members_that_are_not_known_are_ignored(world: World) -> None:
    task = held(world)

    assert report(world, task, "completed", project_id=None, status=17, duration={"ms": 2}).get_json() == OK


@pytest.mark.parametrize(
    ("callback", "members", "state", "message"),
    [
        ("completed", {"message": {"pages": 3}, "exit_code": "0"}, "succeeded", '{"pages": 3}'),
        ("failed", {"error": ["no such file"], "exit_code": "1"}, "failed", '["no such file"]'),
        ("failed", {"error": None, "exit_code": True}, "failed", "the worker gave no reason."),
    ],
)
def test_no_report_is_lost_because_of_a_member_that_is_of_another_type(
    world: World, callback: str, members: dict[str, Any], state: str, message: str
) -> None:
    task = held(world)

    answer = report(world, task, callback, **members)

    assert (answer.status_code, answer.get_json()) == (200, OK)
    assert (world.view(task)["state"], world.view(task)["message"]) == (state, message)


def test_without_a_secret_nobody_reports_unless_the_operator_allows_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    held_as(world, "scud-17")

    for callback in ("started", "completed"):
        refused = send(world, f"{BASE}/{callback}", {"task_id": "scud-17"})
        assert (refused.status_code, list(refused.get_json())) == (401, ["error"])
    assert world.view("scud-17")["state"] == "claimed"
    assert [(line["order_id"], line["why"]) for line in events(capsys)] == [("scud-17", "forged")] * 2


def test_where_the_operator_allows_it_a_worker_without_a_secret_is_told_by_its_body(world: World) -> None:
    open_callbacks(world)
    held_as(world, "scud-17")

    started = {"task_id": "scud-17", "project_id": "proj-456", "status": "started"}
    assert send(world, f"{BASE}/started", started).get_json() == OK
    assert world.view("scud-17")["state"] == "running"
    assert send(world, f"{BASE}/completed", {"task_id": "scud-17", "message": "done"}).get_json() == OK
    assert world.view("scud-17")["state"] == "succeeded"
    assert send(world, f"{BASE}/failed", {"task_id": "scud-17", **FAILED}).get_json() == IGNORED


@pytest.mark.parametrize("task_id", ["no-such-task", "", "a/b", "__x__"])
def test_an_unknown_task_of_a_worker_without_a_secret_is_404(world: World, task_id: str) -> None:
    open_callbacks(world)

    assert send(world, f"{BASE}/started", {"task_id": task_id}).status_code == 404


def test_a_worker_without_a_secret_cannot_start_a_task_that_nobody_holds(world: World) -> None:
    open_callbacks(world)
    task = str(world.place()["id"])

    assert send(world, f"{BASE}/started", {"task_id": task}).get_json() == IGNORED
    assert world.view(task)["state"] == "queued"
