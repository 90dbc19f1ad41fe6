"""`launchyard job …` waits for the ends of jobs, and prints their logs."""

import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest
from rich.console import Console

from cli import view
from cli.job_view import JobView
from shared.domain.order import State
from tests.factories import SESSION
from tests.functions.typed_jobs import (
    LOG,
    Typed,
    claim,
    complete,
    complete_without_log,
    expire,
    fail,
    only_order,
    run,
    stopped,
)
from tests.functions.world import World


def while_waiting(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Take one step each time that a command has looked at its job and waits before it looks again; then none is left.

    The job must have ended by then: one more wait fails the command.
    """
    left = list(steps)
    monkeypatch.setattr("cli.results.time", SimpleNamespace(sleep=lambda _: left.pop(0)(), monotonic=time.monotonic))


def test_start_waits_for_the_end_and_shows_each_status(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_waiting(
        monkeypatch,
        lambda: claim(world, only_order(world).id),
        lambda: world.call_back(only_order(world).id, "started"),
        lambda: complete_without_log(world, only_order(world).id),
    )

    done = typed("start", "s", "--prompt", "p", "--wait")

    assert done.code == 0, done.err
    job = only_order(world).id
    shown = [line.rpartition("  ")[2] for line in done.out.splitlines() if f"  {job}  " in line[8:]]
    assert shown == ["pending", "claimed", "running", "completed"]
    assert done.out.startswith(f"job {job}\n")


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [(complete, 0, "completed"), (fail, 1, "failed"), (stopped, 1, "stopped"), (expire, 1, "failed")],
)
def test_a_job_that_was_waited_for_exits_0_only_if_it_completed(
    world: World,
    typed: Typed,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[World, str], None],
    code: int,
    status: str,
) -> None:
    while_waiting(monkeypatch, lambda: end(world, only_order(world).id))

    done = typed("resume", "s", "--prompt", "p", "--wait", "--json")

    assert (done.code, JobView.model_validate_json(done.out).status) == (code, status)


def test_a_failure_that_was_waited_for_is_explained(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_waiting(monkeypatch, lambda: fail(world, only_order(world).id))

    assert "program_failed: The executor ended with exit code 3." in typed("start", "s", "--prompt", "p", "--wait").out


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", ["start", "logs"])
def test_an_interrupted_wait_leaves_the_job_alone_and_names_it(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    if command == "logs":
        words = ["logs", world.place(SESSION)["id"], "--follow"]
    else:
        words = ["start", "s", "--prompt", "p", "--wait", "--json"]
    while_waiting(monkeypatch, interrupt)

    done = typed(*words)

    job = only_order(world)
    assert (done.code, done.out, job.state) == (130, "", State.QUEUED)
    assert f"The job {job.id} goes on: `launchyard job get {job.id}` shows it" in done.err
    assert "Traceback" not in done.err


def test_a_wait_that_takes_too_long_leaves_the_job_alone_and_names_it(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 3.0])
    monkeypatch.setattr("cli.results.time", SimpleNamespace(monotonic=lambda: next(times)))

    done = typed("start", "s", "--prompt", "p", "--wait", "--timeout", "2", "--json")

    job = only_order(world)
    assert (done.code, done.out, job.state) == (1, "", State.QUEUED)
    assert job.id in done.err


def test_the_log_of_a_job_that_completed_is_printed_as_it_is(world: World, typed: Typed) -> None:
    job = world.place(SESSION)["id"]
    complete(world, job)

    done = typed("logs", job)

    assert (done.code, done.out.encode(), done.err) == (0, LOG, "")


def test_on_a_terminal_a_log_changes_nothing_but_what_is_shown(
    world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.place(SESSION)["id"]
    complete(world, job, LOG + b"[red]not red[/red] \xff" + b"x" * 200_000)
    monkeypatch.setattr(view, "out", Console(highlight=False, width=40, force_terminal=True, no_color=True))

    assert typed("logs", job).out == "Tidied up.\n�]0;title�Ä\n[red]not red[/red] �" + "x" * 200_000


def test_the_log_of_a_job_that_runs_is_waited_for(world: World, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.place(SESSION)["id"]
    while_waiting(monkeypatch, lambda: complete(world, job))

    done = typed("logs", job, "--follow")

    assert (done.code, done.out.encode()) == (0, LOG)


@pytest.mark.parametrize(
    ("until", "explained"),
    [
        (lambda *_: None, "is pending; no launcher has claimed it yet"),
        (claim, "is claimed; until it ends, the launcher alpha has its log"),
        (run, "on the host of the launcher alpha: <state directory>/vms/{job}-1/serial.log"),
        (
            fail,
            "has no log here. It is failed: program_failed: The executor ended with exit code 3.\nIts launcher alpha",
        ),
        (fail, "may have it: <state directory>/logs/{job}-1.log\n"),
        (stopped, "has no log here. It is stopped: cancelled\n"),
        (complete_without_log, "has no log here. It is completed\n"),
    ],
)
def test_a_log_that_is_not_here_is_explained(
    world: World, typed: Typed, until: Callable[[World, str], None], explained: str
) -> None:
    job = world.place(SESSION)["id"]
    until(world, job)

    done = typed("logs", job)

    assert (done.code, done.out) == (1, "")
    assert explained.format(job=job) in done.err
    assert ("logs --follow" in done.err) is (not world.order(job).final)


def test_a_log_that_was_removed_is_explained(world: World, typed: Typed) -> None:
    job = world.place(SESSION)["id"]
    complete(world, job)
    world.clock.now += timedelta(days=8)
    world.sweep()

    done = typed("logs", job)

    assert (done.code, done.out) == (1, "")
    assert done.err.strip()
