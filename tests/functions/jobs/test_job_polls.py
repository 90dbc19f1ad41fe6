"""A poll is held until a job comes, or a command for its launcher."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from functions.apis.jobs.dialect import REPEATS
from functions.domain.order import Order
from functions.domain.refusals import OtherVersion, Unavailable
from shared.domain.order import State
from shared.log_events import LogEvent
from tests.functions.jobs.client import (
    METADATA,
    Launcher,
    configure,
    create,
    get,
    listed,
    register,
    status,
    stop,
)
from tests.functions.world import ADMIN, LAUNCHER, World
from tests.meanwhile import Failing

UNAVAILABLE = Unavailable("The order store does not answer.")


def test_a_poll_brings_the_job_whole(world: World, launcher: Launcher) -> None:
    job_id = create(world, agent_name="researcher", project_dir="/srv/work", parent_session_name="boss")
    world.clock.now += timedelta(seconds=1)

    assert launcher.command_or_job() == {
        "job": {
            "job_id": job_id,
            "type": "start_session",
            "session_name": "survey-1",
            "agent_name": "researcher",
            "prompt": "Summarise the notes",
            "project_dir": "/srv/work",
            "parent_session_name": "boss",
            "status": "claimed",
            "launcher_id": launcher.id,
            "error": None,
            "created_at": "2026-11-22T12:00:00+00:00",
            "claimed_at": "2026-11-22T12:00:01+00:00",
            "started_at": None,
            "completed_at": None,
        }
    }
    assert get(world, job_id)["status"] == "claimed"


def test_a_poll_to_which_nothing_comes_is_empty_after_its_hold(world: World, launcher: Launcher) -> None:
    before = world.clock.now

    answer = launcher.poll()

    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert world.clock.now - before == timedelta(seconds=30)


def test_a_poll_reads_its_launcher_and_what_that_holds_once_before_it_waits(
    world: World, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counter[str]()
    for port in (world.ports.job_launchers, world.ports.store):
        for method in ("get", "change", "held_by"):
            if hasattr(port, method):
                monkeypatch.setattr(port, method, _counted(calls, method, getattr(port, method)))
    before_the_wait: list[dict[str, int]] = []
    world.clock.while_waiting = lambda: before_the_wait.append(dict(calls))

    launcher.poll()

    assert before_the_wait[0] == {"get": 1, "held_by": 1}


def test_a_poll_reads_none_of_its_launcher_s_jobs_but_those_that_are_to_stop(
    world: World, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher may run hundreds, and polls every 30 s."""
    for _ in range(3):
        create(world)
    to_stop, *_ = [launcher.run() for _ in range(3)]
    stop(world, to_stop)
    read, held_by = list[str](), world.ports.store.held_by

    def reading(*args: Any, **kwargs: Any) -> Sequence[Order]:
        found = held_by(*args, **kwargs)
        read.extend(order.id for order in found)
        return found

    monkeypatch.setattr(world.ports.store, "held_by", reading)

    assert launcher.command_or_job() == {"stop_jobs": [to_stop]}
    assert read == [to_stop]


def _counted(calls: Counter[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        return method(*args, **kwargs)

    return call


def test_the_hold_is_a_setting_and_never_longer_than_a_launcher_waits(world: World, launcher: Launcher) -> None:
    configure(world, LAUNCHER_POLL_TIMEOUT="2")
    before = world.clock.now

    assert launcher.poll().status_code == 204
    assert world.clock.now - before == timedelta(seconds=2)
    for wrong in ("0", "31", "35"):
        with pytest.raises(ValueError, match="LAUNCHER_POLL_TIMEOUT"):
            configure(world, LAUNCHER_POLL_TIMEOUT=wrong)
    with pytest.raises(ValueError, match="LAUNCHYARD_STALE_SECONDS"):
        configure(world, LAUNCHYARD_STALE_SECONDS="119")


def test_a_poll_wakes_for_a_job_that_comes_while_it_waits(world: World, launcher: Launcher) -> None:
    created: list[str] = []

    def create_once() -> None:
        if not created:
            created.append(create(world))

    world.clock.while_waiting = create_once
    assert launcher.take() == created[0]


def test_each_job_goes_to_one_poll(world: World, launcher: Launcher) -> None:
    job_ids = {create(world) for _ in range(3)}
    other = register(world)

    assert {launcher.take(), other.take(), launcher.take()} == job_ids
    assert launcher.command_or_job() == other.command_or_job() == {}


def test_a_poll_without_its_launcher_is_wrong(world: World) -> None:
    answer = world.get("/launcher/jobs", LAUNCHER)

    assert answer.status_code == 422
    assert answer.get_json()["detail"] == [
        {"type": "missing", "loc": ["query", "launcher_id"], "msg": "Field required"}
    ]


def test_a_poll_shows_life_as_a_heartbeat_does_and_writes_that_seldom(world: World, launcher: Launcher) -> None:
    configure(world, LAUNCHER_POLL_TIMEOUT="1")
    world.clock.now += timedelta(seconds=19)
    launcher.poll()
    assert listed(world)[launcher.id]["last_heartbeat"] == "2026-11-22T12:00:00+00:00"

    world.clock.now += timedelta(seconds=81)
    launcher.poll()
    assert listed(world)[launcher.id]["seconds_since_heartbeat"] == 1.0
    world.clock.now += timedelta(seconds=60)
    launcher.heartbeat()
    assert listed(world)[launcher.id]["seconds_since_heartbeat"] == 0.0


def test_a_poll_whose_launcher_has_hung_up_takes_no_job(
    world: World, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = create(world)
    launcher.deregister(itself=False, key=ADMIN)
    with monkeypatch.context() as patched:
        patched.setattr("functions.http.endpoint.presence", lambda _environ: lambda: False)
        assert launcher.poll().status_code == 204

    assert status(world, job_id) == "pending"
    assert launcher.command_or_job() == {"deregistered": True}
    assert register(world).take() == job_id


def test_a_job_whose_poll_s_answer_was_lost_waits_again_under_the_same_id(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    launcher.take()
    world.clock.now += timedelta(seconds=66)
    world.sweep()

    job = get(world, job_id)
    assert (job["status"], job["launcher_id"], job["claimed_at"]) == ("pending", None, None)
    world.clock.now += timedelta(seconds=15)
    assert register(world).take() == job_id
    assert world.order(job_id).attempt == 1


def test_a_stop_command_comes_first_and_alone(world: World, launcher: Launcher) -> None:
    first, second = (create(world) for _ in range(2))
    taken = {launcher.run(), launcher.run()}
    waiting = create(world)
    assert taken == {first, second}
    for job_id in taken:
        stop(world, job_id)
    launcher.deregister(itself=False)

    assert launcher.command_or_job() == {"stop_jobs": sorted(taken)}
    assert launcher.command_or_job() == {"deregistered": True}
    assert status(world, waiting) == "pending"


def test_a_waiting_poll_receives_a_stop_command_at_once(world: World, launcher: Launcher) -> None:
    create(world)
    job_id = launcher.run()
    world.clock.while_waiting = lambda: None if status(world, job_id) == "stopping" else stop(world, job_id)

    assert launcher.command_or_job() == {"stop_jobs": [job_id]}


def test_a_waiting_poll_receives_a_deregistration(world: World, launcher: Launcher) -> None:
    world.clock.while_waiting = lambda: launcher.deregister(itself=False)

    assert launcher.command_or_job() == {"deregistered": True}


def test_a_stop_command_is_repeated_every_few_seconds_and_lets_jobs_pass(world: World, launcher: Launcher) -> None:
    """The answer with the first may have been lost; and a launcher without the job would poll without a pause."""
    create(world)
    job_id = launcher.run()
    stop(world, job_id)
    assert launcher.command_or_job() == {"stop_jobs": [job_id]}
    before = world.clock.now
    other = create(world)

    assert launcher.take() == other
    assert (launcher.command_or_job() or launcher.command_or_job()) == {"stop_jobs": [job_id]}
    assert world.clock.now - before == timedelta(seconds=5)
    launcher.report(job_id, "stopped")
    world.clock.now += timedelta(seconds=5)
    assert launcher.command_or_job() == {}


def test_a_new_stop_command_does_not_wait_for_the_repeat_of_another(world: World, launcher: Launcher) -> None:
    for _ in range(2):
        create(world)
    first, second = launcher.run(), launcher.run()
    stop(world, first)
    launcher.command_or_job()
    stop(world, second)
    before = world.clock.now

    assert launcher.command_or_job() == {"stop_jobs": sorted([first, second])}
    assert world.clock.now == before


def test_a_stop_command_is_for_the_job_s_own_launcher(world: World, launcher: Launcher) -> None:
    other = register(world)
    create(world)
    job_id = launcher.run()
    stop(world, job_id)

    assert other.command_or_job() == {}
    assert launcher.command_or_job() == {"stop_jobs": [job_id]}


def test_only_a_launcher_that_offers_the_labels_gets_the_job(world: World) -> None:
    job_id = create(world, labels=["gpu", "host=bench-2"])
    plain, partly, fitting = register(world), register(world, labels=["gpu"]), register(world, **METADATA)
    both = register(world, **METADATA, labels=["gpu"])

    assert plain.command_or_job() == partly.command_or_job() == fitting.command_or_job() == {}
    assert both.take() == job_id


def test_a_job_without_labels_is_for_everyone(world: World) -> None:
    job_ids = {create(world) for _ in range(2)}

    assert {register(world, **METADATA).take(), register(world).take()} == job_ids


def test_a_job_that_nobody_could_take_fails_with_that_reason(world: World) -> None:
    configure(world, LAUNCHYARD_UNMATCHED_SECONDS="90")
    job_id, unlabelled = create(world, labels=["gpu"]), create(world)
    world.clock.now += timedelta(seconds=90)
    world.sweep()

    job = get(world, job_id)
    assert (job["status"], job["error"]) == ("failed", "No launcher that offers gpu took it in time.")
    assert world.view(job_id)["reason"] == "unmatched"
    assert job["completed_at"] == "2026-11-22T12:01:30+00:00"
    assert status(world, unlabelled) == "pending"


@pytest.mark.parametrize(
    ("port", "method"),
    [
        ("job_launchers", "get"),
        ("job_launchers", "change"),
        ("store", "held_by"),
        ("store", "claimable"),
        ("store", "remembering"),
        ("keys", "find"),
    ],
)
@pytest.mark.parametrize("fault", [UNAVAILABLE, OtherVersion("Another version wrote it.")])
def test_a_poll_during_a_fault_is_empty_and_not_at_once(
    world: World,
    launcher: Launcher,
    failing: Failing,
    pauses: list[float],
    port: str,
    method: str,
    fault: Exception,
) -> None:
    world.clock.now += timedelta(seconds=30)
    failing(getattr(world.ports, port), method, fault)

    answer = launcher.poll()

    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert pauses == [0.5]


def test_a_poll_is_empty_after_an_error_of_ours_too_and_the_error_is_logged(
    world: World,
    launcher: Launcher,
    failing: Failing,
    pauses: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its launcher would give up after three answers of 500."""
    failing(world.ports.store, "held_by", RuntimeError("can't start new thread"))

    answer = launcher.poll()

    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert pauses == [0.5]
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    (logged,) = [line for line in lines if line["event"] == LogEvent.REQUEST_DEGRADED]
    assert (logged["severity"], logged["why"]) == ("ERROR", "RuntimeError")
    assert "can't start new thread" in logged["exception"]


@pytest.mark.parametrize("method", ["read", "apply"])
@pytest.mark.parametrize("kind", ["started", "completed", "failed", "stopped"])
def test_a_report_outlasts_a_fault_because_its_launcher_does_not_repeat_it(
    world: World, launcher: Launcher, failing: Failing, monkeypatch: pytest.MonkeyPatch, kind: str, method: str
) -> None:
    create(world)
    job_id = launcher.take()
    pauses = list[float]()
    with monkeypatch.context() as faulty:
        failing(world.ports.store, method, UNAVAILABLE)

        def pass_by(pause: float) -> None:
            pauses.append(pause)
            if sum(pauses) > 15:
                monkeypatch.undo()

        faulty.setattr(time, "sleep", pass_by)
        assert launcher.accepted(job_id, kind)

    assert pauses == list(REPEATS)
    assert status(world, job_id) == {"started": "running", "completed": "completed"}.get(kind, "failed")


def test_a_registration_outlasts_a_fault_because_its_launcher_would_exit(
    world: World, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(world.ports.job_launchers, "add", UNAVAILABLE)
    monkeypatch.setattr(time, "sleep", lambda _: monkeypatch.undo())

    assert register(world).command_or_job() == {}


def test_a_report_during_a_fault_that_does_not_pass_is_asked_to_come_again(
    world: World, launcher: Launcher, failing: Failing, pauses: list[float]
) -> None:
    create(world)
    job_id = launcher.take()
    failing(world.ports.store, "read", UNAVAILABLE)

    answer = launcher.report(job_id, "started")

    assert (answer.status_code, answer.get_json()) == (503, {"detail": UNAVAILABLE.message})
    assert answer.headers["Retry-After"]
    assert pauses == list(REPEATS)


def test_any_other_request_is_asked_to_come_again_at_once(
    world: World, launcher: Launcher, failing: Failing, pauses: list[float]
) -> None:
    failing(world.ports.job_launchers, "get", UNAVAILABLE)

    answer = launcher.heartbeat()

    assert (answer.status_code, answer.get_json()) == (503, {"detail": UNAVAILABLE.message})
    assert pauses == []


def test_an_outage_ends_no_job_of_a_launcher_that_polls_again_after_it(world: World, launcher: Launcher) -> None:
    create(world)
    job_id = launcher.run()
    world.clock.now += timedelta(minutes=10)  # nothing could be stored meanwhile

    assert world.sweep()["ended"] == 0
    world.clock.now += timedelta(seconds=30)
    launcher.poll()
    world.clock.now += timedelta(seconds=30)
    assert world.sweep()["ended"] == 0
    assert status(world, job_id) == "running"


def test_a_poll_s_job_is_an_order_of_the_one_engine(world: World, launcher: Launcher) -> None:
    job_id = create(world)

    view = world.view(job_id)
    assert (view["kind"], view["spec"]["session_name"]) == ("session", "survey-1")
    launcher.run()
    assert world.order(job_id).state is State.RUNNING
    assert not world.order(job_id).attended
