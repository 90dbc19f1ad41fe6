"""`launchyard worker run`: what it sends, its exit codes, and the example of the contract's own README."""

import json
import sys
from collections.abc import Iterator
from typing import Final

import pytest
from typer.testing import CliRunner, Result
from werkzeug import Request, Response

import emulators.serving
from worker.local.cli import app

SECRET: Final = "1_secret-that-no-message-may-show"


class Callbacks:
    """A control plane that keeps what it was sent. Its answers have `status`."""

    def __init__(self) -> None:
        self.url, self.status = "", 200
        self.sent: list[tuple[str, dict[str, object]]] = []

    def answer(self, request: Request) -> Response:
        self.sent.append((request.path, json.loads(request.get_data())))
        return Response('{"ok": true}', self.status, content_type="application/json")


@pytest.fixture
def callbacks() -> Iterator[Callbacks]:
    callbacks = Callbacks()
    with emulators.serving.serving(Request.application(callbacks.answer)) as callbacks.url:
        yield callbacks


def run(url: str, *words: str, **variables: str | None) -> Result:
    """Run the command with the contract's environment; None takes a variable away."""
    environment = {"CALLBACK_URL": f"{url}/callback", "PROJECT_ID": "proj-456", "TASK_ID": None, **variables}
    return CliRunner().invoke(app, ["run", *words], env=environment)


def test_a_worker_without_a_command_reports_that_it_started_and_completed(callbacks: Callbacks) -> None:
    done = run(callbacks.url, "--task", "test-123")

    assert done.exit_code == 0, done.output
    assert callbacks.sent == [
        ("/callback/started", {"task_id": "test-123", "status": "started", "project_id": "proj-456"}),
        ("/callback/completed", {"task_id": "test-123", "status": "completed", "message": "done"}),
    ]


def test_a_worker_runs_its_command_between_the_reports(callbacks: Callbacks) -> None:
    script = "import os; assert os.environ['TASK_ID'] == 'test-123'"

    assert run(callbacks.url, "--task", "test-123", "--", sys.executable, "-c", script).exit_code == 0

    assert [path for path, _ in callbacks.sent] == ["/callback/started", "/callback/completed"]


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        (("sh", "-c", "exit 3"), {"error": "The command failed.", "exit_code": 3}),
        (("sh", "-c", "kill -9 $$"), {"error": "The command failed.", "exit_code": 137}),
        (("/no/such/command",), {"error": "The command cannot be started: No such file or directory"}),
    ],
)
def test_a_command_that_fails_is_reported_as_failed(
    callbacks: Callbacks, command: tuple[str, ...], reported: dict[str, object]
) -> None:
    assert run(callbacks.url, "--task", "test-123", "--", *command).exit_code == 0

    assert callbacks.sent[1:] == [("/callback/failed", {"task_id": "test-123", "status": "failed", **reported})]


def test_whatever_the_answer_is_the_work_goes_on(callbacks: Callbacks) -> None:
    callbacks.status = 500

    assert run(callbacks.url, "--task", "test-123").exit_code == 0
    assert len(callbacks.sent) == 2


def test_a_report_that_nobody_answers_ends_the_worker_before_its_command_and_shows_no_secret() -> None:
    done = run(f"http://127.0.0.1:9/{SECRET}", "--task", "test-123", "--", "false")

    assert done.exit_code == 1
    assert "started was not delivered: nothing listens there" in done.stderr
    assert SECRET not in done.output


@pytest.mark.parametrize("variables", [{"CALLBACK_URL": None}, {"CALLBACK_URL": ""}, {"PROJECT_ID": None}])
def test_a_missing_variable_is_named(callbacks: Callbacks, variables: dict[str, str | None]) -> None:
    done = run(callbacks.url, "--task", "test-123", **variables)

    assert done.exit_code == 1
    assert next(iter(variables)) in done.stderr
    assert callbacks.sent == []


def test_an_empty_project_is_accepted(callbacks: Callbacks) -> None:
    assert run(callbacks.url, "--task", "test-123", PROJECT_ID="").exit_code == 0


@pytest.mark.parametrize("words", [(), ("--task",), ("--task", "a/b"), ("--task", ""), ("-t", "x"), ("--tusk", "x")])
def test_a_wrong_command_line_ends_with_2(callbacks: Callbacks, words: tuple[str, ...]) -> None:
    assert run(callbacks.url, *words).exit_code == 2
    assert callbacks.sent == []


def test_the_task_of_the_environment_is_run_if_the_command_line_names_none(callbacks: Callbacks) -> None:
    assert run(callbacks.url, TASK_ID="test-123").exit_code == 0
    assert run(callbacks.url, "--task", "test-124", TASK_ID="test-123").exit_code == 0

    assert [body["task_id"] for _, body in callbacks.sent] == ["test-123"] * 2 + ["test-124"] * 2
