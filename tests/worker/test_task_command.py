"""A task's command in our own worker: its environment, and an order that the command itself ends."""

from pathlib import Path
from typing import Final

import pytest

from shared.domain.order import State
from shared.domain.spec import TaskSpec
from tests.worker.control_plane import TOKEN, FakeControlPlane
from worker.logs import open_log
from worker.network import client
from worker.runtime import Worker

CALLBACK_URL: Final = "http://127.0.0.1:8080/api/agents/callback/task-1/1_secret"
PRINT_ENVIRONMENT: Final = TaskSpec(command=("env",))


def run(plane: FakeControlPlane, folder: Path, spec: TaskSpec = PRINT_ENVIRONMENT) -> int:
    config = plane.config(spec)
    with client(config.loopback_gateway) as http:
        return Worker(config, http, folder, open_log(config)).run()


def printed(plane: FakeControlPlane) -> dict[str, str]:
    """Return the environment that the command printed."""
    [upload] = plane.uploads
    return dict(line.split("=", 1) for line in upload.body.decode().splitlines())


def test_a_command_has_the_environment_of_its_order_and_of_the_workers_only_what_it_needs(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.environment = {"TASK_ID": "task-1", "CALLBACK_URL": CALLBACK_URL}
    monkeypatch.setenv("LAUNCHYARD_WORKER_CONFIG", f"a document with {TOKEN}")
    monkeypatch.setenv("PYTHONPATH", "/the/workers")
    monkeypatch.setenv("LAUNCHYARD_VM", "the machine's mark")

    assert run(plane, tmp_path) == 0

    found = printed(plane)
    assert {"TASK_ID": "task-1", "CALLBACK_URL": CALLBACK_URL, "LAUNCHYARD_VM": "the machine's mark"}.items() <= (
        found.items()
    )
    assert found.keys() <= {"TASK_ID", "CALLBACK_URL", "LAUNCHYARD_VM", "PATH", "HOME", "LANG", "TMPDIR"}


def test_a_command_in_a_machine_calls_its_hosts_loopback_address_at_the_gateway(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.environment = {
        "CALLBACK_URL": CALLBACK_URL,
        "DESCARTES_CALLBACK_URL": "https://control-plane.example/api",
        "PROJECT_ID": CALLBACK_URL,
    }
    config = plane.config(PRINT_ENVIRONMENT, gateway="10.0.2.2")

    with client(None) as http:
        assert Worker(config, http, tmp_path, open_log(config)).run() == 0

    found = printed(plane)
    assert found["CALLBACK_URL"] == CALLBACK_URL.replace("127.0.0.1", "10.0.2.2")
    assert found["DESCARTES_CALLBACK_URL"] == "https://control-plane.example/api"
    assert found["PROJECT_ID"] == CALLBACK_URL


@pytest.mark.parametrize(
    ("command", "event", "state"),
    [
        (("true",), "upload", State.SUCCEEDED),
        (("true",), "completed", State.CANCELLED),
        (("false",), "failed", State.FAILED),
    ],
)
def test_a_worker_whose_command_ended_the_order_ends_without_an_error(
    plane: FakeControlPlane,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    event: str,
    state: State,
) -> None:
    plane.ended = state
    plane.statuses[event] = [409]

    assert run(plane, tmp_path, TaskSpec(command=command)) == 0

    assert plane.steps[-1] == event
    log = capsys.readouterr().out
    assert "the order has ended, and needs no other report" in log
    assert "refused a report" not in log
