"""Sessions on our own launcher, with real processes: their output, their stop, and launchers and workers that die."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil
import pytest

from emulators.settings import BackendChoice, ProviderChoice
from launcher.providers.process.identity import MARK, marked
from shared.domain.order import Reason, State
from shared.domain.spec import SessionSpec, TaskSpec
from shared.wire.orders import OrderView
from tests.harness.clients import download
from tests.harness.processes import await_end, is_running
from tests.harness.stack import Stack, await_machine, in_state, stack_of
from tests.harness.waiting import await_value

ENDED: Final = in_state(State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED)
EXECUTOR: Final = """\
import json, os, pathlib, signal, subprocess, sys, time
request = json.load(sys.stdin)
pathlib.Path("request.json").write_text(json.dumps(request))
print(json.dumps(request), flush=True)
pathlib.Path("runs").open("a").write("once\\n")
left = subprocess.Popen(["sleep", "600"], start_new_session=True)
inside = subprocess.Popen(["sleep", "600"])
def stop(number, frame):
    print("saved", flush=True)
    pathlib.Path("saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
partial = pathlib.Path("up.partial")
partial.write_text(json.dumps({"executor": os.getpid(), "left": left.pid, "inside": inside.pid,
    "environment": dict(os.environ)}))
partial.rename("up")
while not pathlib.Path("finish").exists():
    time.sleep(0.05)
print("finished", flush=True)
"""
"""Says what it was asked, starts a child in its process group and one outside, and ends once `finish` is there."""


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("projects")


@pytest.fixture
def project(projects: Path) -> Path:
    """A new directory that the launcher allows."""
    path = projects / uuid4().hex
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, projects: Path) -> Iterator[Stack]:
    """A stack whose launcher runs the executor above."""
    folder = tmp_path_factory.mktemp("stack")
    program = folder / "executor.py"
    program.write_text(EXECUTOR)
    with pytest.MonkeyPatch.context() as own:
        own.setenv("LAUNCHYARD_PROJECT_DIRS", str(projects))
        executor = shlex.join((sys.executable, str(program)))
        with stack_of(folder, ProviderChoice.PROCESS, BackendChoice.MEMORY, folder, executor=executor) as stack:
            yield stack


def create(stack: Stack, project: Path | None, prompt: str = "Summarise.") -> str:
    spec = SessionSpec(session_name="survey-1", prompt=prompt, project_dir=None if project is None else str(project))
    return stack.api.create_order(spec, str(uuid4())).id


def up(project: Path) -> Mapping[str, psutil.Process]:
    """Return the session's processes, once its executor has started them."""
    await_value((project / "up").exists, "the executor's start")
    told = json.loads((project / "up").read_text())
    return {name: psutil.Process(told[name]) for name in ("executor", "left", "inside")}


def ended(stack: Stack, order_id: str) -> OrderView:
    return stack.await_order(order_id, ENDED)


def test_a_session_runs_in_its_directory_and_its_output_can_be_followed_and_downloaded(
    stack: Stack, project: Path
) -> None:
    order_id = create(stack, project)
    processes = up(project)
    [log] = stack.state.glob(f"vms/{order_id}-*/serial.log")
    await_value(lambda: b'"survey-1"' in log.read_bytes(), "the executor's output in the machine's log")
    environment = json.loads((project / "up").read_text())["environment"]

    (project / "finish").touch()
    order = ended(stack, order_id)

    assert (order.state, order.attempt) == (State.SUCCEEDED, 1), order.message
    first, *rest = download(stack.api, order).decode().splitlines()
    assert json.loads(first) == {
        "schema_version": "1.0",
        "mode": "start",
        "session_name": "survey-1",
        "prompt": "Summarise.",
        "project_dir": str(project),
    }
    assert rest == ["finished"]
    stack.await_no_machine()
    assert not [name for name, process in processes.items() if is_running(process)]
    assert environment["AGENT_SESSION_NAME"] == "survey-1"
    assert environment["AGENT_ORCHESTRATOR_API_URL"].startswith(stack.environment["LAUNCHYARD_URL"])
    assert "LAUNCHYARD_LAUNCHER_KEY" not in environment


def test_a_directory_that_is_not_allowed_fails_the_session_at_once(stack: Stack, tmp_path: Path) -> None:
    order = ended(stack, create(stack, tmp_path))

    assert (order.state, order.attempt) == (State.FAILED, 1)
    assert order.message == f"The project directory {tmp_path} is not allowed on this launcher: name another."


def test_a_cancelled_session_is_stopped_with_all_its_processes_after_its_executor_had_its_say(
    stack: Stack, project: Path
) -> None:
    order_id = create(stack, project)
    processes = up(project)
    stack.await_order(order_id, in_state(State.RUNNING))

    stack.api.cancel_order(order_id)
    order = ended(stack, order_id)

    assert order.state is State.CANCELLED
    assert (project / "saved").exists()
    stack.await_no_machine()
    [log] = stack.state.glob(f"logs/{order_id}-*.log")
    assert log.read_text().splitlines()[-1] == "saved"
    assert not [name for name, process in processes.items() if is_running(process)]


def test_a_session_survives_its_launcher_and_its_end_is_reported_once(stack: Stack, project: Path) -> None:
    order_id = create(stack, project)
    processes = up(project)
    stack.await_order(order_id, in_state(State.RUNNING))
    daemon, environment = psutil.Process(stack.launcher.pid), stack.environment

    daemon.kill()
    await_end(daemon)
    assert is_running(processes["executor"])
    stack.start_launcher(environment)
    (project / "finish").touch()
    order = ended(stack, order_id)

    assert (order.state, order.attempt, order.epoch) == (State.SUCCEEDED, 1, 1), order.message
    assert (project / "runs").read_text() == "once\n"
    assert download(stack.api, order).decode().endswith("finished\n")
    stack.await_no_machine()


def test_a_session_whose_end_its_launcher_missed_has_ended_all_the_same(stack: Stack, project: Path) -> None:
    order_id = create(stack, project)
    up(project)
    stack.await_order(order_id, in_state(State.RUNNING))
    daemon, environment = psutil.Process(stack.launcher.pid), stack.environment

    daemon.kill()
    await_end(daemon)
    (project / "finish").touch()
    order = ended(stack, order_id)
    stack.start_launcher(environment)

    assert (order.state, order.epoch) == (State.SUCCEEDED, 1)
    stack.await_no_machine()
    assert stack.api.get_order(order_id).state is State.SUCCEEDED


@pytest.mark.parametrize("adopted", [False, True], ids=["its own launcher", "a later launcher"])
def test_a_session_whose_worker_is_killed_has_failed_and_is_not_run_again(
    stack: Stack, project: Path, adopted: bool
) -> None:
    order_id = create(stack, project)
    processes = up(project)
    stack.await_order(order_id, in_state(State.RUNNING))
    worker = await_machine(stack.state)
    mark = worker.environ()[MARK]
    if adopted:
        daemon, environment = psutil.Process(stack.launcher.pid), stack.environment
        daemon.kill()
        await_end(daemon)
        stack.start_launcher(environment)

    os.kill(worker.pid, signal.SIGKILL)
    order = ended(stack, order_id)

    assert (order.state, order.reason, order.attempt) == (State.FAILED, Reason.MACHINE_EXITED, 1)
    assert order.message is not None
    assert "The machine ended by itself" in order.message
    stack.await_no_machine()
    assert not [name for name, process in processes.items() if is_running(process)]
    assert marked(mark) == []
    assert (project / "runs").read_text() == "once\n"


def test_a_launcher_takes_no_more_sessions_than_its_limit_and_other_work_meanwhile(
    stack: Stack, projects: Path
) -> None:
    daemon, environment = psutil.Process(stack.launcher.pid), stack.environment
    daemon.terminate()
    await_end(daemon)
    stack.start_launcher(environment, LAUNCHYARD_MAX_SESSIONS="1")
    one, other = projects / uuid4().hex, projects / uuid4().hex
    for path in (one, other):
        path.mkdir()

    first = create(stack, one)
    up(one)
    second = create(stack, other)
    task = stack.api.create_order(TaskSpec(command=("true",)), str(uuid4())).id

    assert ended(stack, task).state is State.SUCCEEDED
    assert stack.api.get_order(second).state is State.QUEUED
    for path, order_id in ((one, first), (other, second)):
        (path / "finish").touch()
        assert ended(stack, order_id).state is State.SUCCEEDED


def test_the_local_stacks_own_executor_does_what_the_prompt_says(tmp_path: Path) -> None:
    with stack_of(tmp_path / "stack", ProviderChoice.PROCESS, BackendChoice.MEMORY, tmp_path) as stack:
        done = ended(stack, create(stack, None, "write notes.txt some text\nsleep 0.01\nall is well"))
        failed = ended(stack, create(stack, None, "exit 3\nnever said"))

        assert done.state is State.SUCCEEDED, done.message
        said = ["test executor: start survey-1", "write notes.txt some text", "sleep 0.01", "all is well"]
        assert download(stack.api, done).decode().splitlines() == said
        assert (failed.state, failed.reason) == (State.FAILED, Reason.PROGRAM_FAILED)
        assert failed.message is not None
        assert failed.message.startswith("The executor ended with exit code 3.")
        assert "never said" not in failed.message


@pytest.mark.slow
@pytest.mark.vm
def test_a_session_runs_in_a_machine_of_its_own_and_is_stopped_there(guest_image: Path, tmp_path: Path) -> None:
    with stack_of(tmp_path / "stack", ProviderChoice.QEMU, BackendChoice.MEMORY, guest_image.parent) as stack:
        done, stopped = create(stack, None, "all is well"), create(stack, None, "waits\nsleep 10000")

        succeeded = ended(stack, done)
        assert succeeded.state is State.SUCCEEDED, succeeded.message
        assert download(stack.api, succeeded).decode() == "test executor: start survey-1\nall is well\n"
        await_value(lambda: any(b"waits" in log.read_bytes() for log in logs_of(stack, stopped)), "the output")
        stack.api.cancel_order(stopped)
        assert ended(stack, stopped).state is State.CANCELLED
        stack.await_no_machine()
        [log] = logs_of(stack, stopped)
        assert "[guest] the worker exited with 1; powering off" in log.read_text(errors="replace")


def logs_of(stack: Stack, order_id: str) -> list[Path]:
    return [*stack.state.glob(f"vms/{order_id}-*/serial.log"), *stack.state.glob(f"logs/{order_id}-*.log")]
