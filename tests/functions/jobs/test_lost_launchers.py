"""A launcher that sends nothing is lost: its running jobs fail, and are not run again unless a client asks for it."""

import json
from datetime import timedelta

import pytest

from functions.domain.job_launchers import STALE_LAUNCHER_TTL
from functions.domain.refusals import Unavailable
from shared.log_events import LogEvent
from tests.functions.jobs.client import (
    STALE_AFTER,
    Launcher,
    configure,
    create,
    fall_silent,
    get,
    listed,
    register,
    status,
    stop,
)
from tests.functions.world import World
from tests.meanwhile import Failing, Meanwhile

LOST = STALE_AFTER + timedelta(seconds=10)


def test_the_running_jobs_of_a_silent_launcher_fail_and_say_why(
    world: World, launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        create(world)
    job_ids = [launcher.run(), launcher.run()]

    assert fall_silent(world, STALE_AFTER - timedelta(seconds=1)) == 0
    assert fall_silent(world, timedelta(seconds=11)) == 2

    for job_id in job_ids:
        job = get(world, job_id)
        assert job["status"] == "failed"
        assert job["error"] == (
            f"The launcher {launcher.id} sent no heartbeat for 120 s. What the job has done is not known: "
            "to continue, resume its session with a new job."
        )
        assert world.view(job_id)["reason"] == "lease_lapsed"
        assert world.order(job_id).attempt == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["launcher_id"], line["jobs"]) for line in lines if line["event"] == LogEvent.JOB_LAUNCHER_LOST] == [
        (launcher.id, 2)
    ]
    assert register(world).command_or_job() == {}


@pytest.mark.parametrize("seconds", [30, 60, 100])
def test_a_launcher_that_shows_life_keeps_its_jobs(world: World, launcher: Launcher, seconds: int) -> None:
    create(world)
    job_id = launcher.run()

    for _ in range(10):
        assert fall_silent(world, timedelta(seconds=seconds)) == 0
        launcher.heartbeat()

    assert status(world, job_id) == "running"


def test_a_claimed_job_of_a_silent_launcher_waits_again(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    launcher.take()

    fall_silent(world, LOST)

    assert status(world, job_id) == "pending"


def test_a_job_that_was_to_stop_has_stopped_with_its_launcher(world: World, launcher: Launcher) -> None:
    create(world)
    job_id = launcher.run()
    fall_silent(world, STALE_AFTER - timedelta(seconds=10))
    stop(world, job_id)

    fall_silent(world, timedelta(seconds=20))

    assert status(world, job_id) == "stopped"


def test_a_silent_launcher_is_listed_as_stale_for_a_day(world: World, launcher: Launcher) -> None:
    fall_silent(world, STALE_AFTER - timedelta(seconds=1))
    assert listed(world)[launcher.id]["status"] == "online"

    fall_silent(world, timedelta(seconds=20))
    assert listed(world)[launcher.id]["status"] == "stale"
    world.clock.now += STALE_LAUNCHER_TTL - LOST - timedelta(seconds=30)
    world.sweep()
    assert listed(world)[launcher.id]["status"] == "stale"

    world.clock.now += timedelta(seconds=30)
    assert world.sweep()["records_forgotten"] == 1
    assert listed(world) == {}
    assert launcher.poll().status_code == 401


def test_a_stale_launcher_that_returns_is_online_and_gets_jobs(world: World, launcher: Launcher) -> None:
    fall_silent(world, timedelta(hours=1))
    job_id = create(world)

    assert launcher.run() == job_id

    assert listed(world)[launcher.id]["status"] == "online"
    assert fall_silent(world, STALE_AFTER - timedelta(seconds=10)) == 0
    assert fall_silent(world, timedelta(seconds=20)) == 1


def test_a_report_of_a_launcher_that_was_lost_meanwhile_changes_nothing(world: World, launcher: Launcher) -> None:
    create(world)
    job_id = launcher.run()
    fall_silent(world, LOST)
    failed = get(world, job_id)

    assert launcher.accepted(job_id, "completed")

    assert get(world, job_id) == failed


def test_a_deregistered_launcher_that_never_polls_again_is_removed(world: World, launcher: Launcher) -> None:
    create(world)
    job_id = launcher.run()
    launcher.deregister(itself=False)

    fall_silent(world, LOST)

    assert listed(world) == {}
    assert status(world, job_id) == "failed"


def test_a_stale_launcher_that_is_deregistered_is_removed_by_the_next_sweep(world: World, launcher: Launcher) -> None:
    fall_silent(world, timedelta(hours=1))
    launcher.deregister(itself=False)

    world.sweep()

    assert listed(world) == {}


def test_the_time_is_a_setting(world: World) -> None:
    configure(world, LAUNCHER_POLL_TIMEOUT="1", LAUNCHYARD_STALE_SECONDS="4")
    launcher = register(world)
    create(world)
    job_id = launcher.run()

    world.clock.now += timedelta(seconds=3)
    world.sweep()
    world.clock.now += timedelta(seconds=2)
    world.sweep()

    assert status(world, job_id) == "failed"
    assert get(world, job_id)["error"].startswith(f"The launcher {launcher.id} sent no heartbeat for 4 s.")


@pytest.mark.parametrize("when", ["read", "ended"])
def test_a_launcher_that_returns_during_the_sweep_is_online(
    world: World, launcher: Launcher, meanwhile: Meanwhile, when: str
) -> None:
    create(world)
    launcher.run()
    fall_silent(world, STALE_AFTER - timedelta(seconds=1))
    world.clock.now += timedelta(seconds=2)
    if when == "read":
        meanwhile(world.ports.job_launchers, "before", launcher.heartbeat, after=True)
    else:
        meanwhile(world.ports.store, "held_by", launcher.heartbeat)

    world.sweep()

    assert listed(world)[launcher.id]["status"] == "online"
    record = launcher.record()
    assert record is not None
    assert record.due_at == world.clock.now + timedelta(seconds=60)


def test_a_sweep_whose_store_fails_between_two_jobs_continues_at_the_next(
    world: World, launcher: Launcher, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        create(world)
    first, second = sorted([launcher.run(), launcher.run()])
    with monkeypatch.context():
        failing(world.ports.store, "apply", Unavailable("Not now."), only=first)
        fall_silent(world, LOST)
        assert status(world, first) == "running"
        monkeypatch.undo()

    world.sweep()

    assert (status(world, first), status(world, second)) == ("failed", "failed")


def test_a_job_that_starts_while_its_launcher_deregisters_fails_too(
    world: World, launcher: Launcher, meanwhile: Meanwhile
) -> None:
    job_id = create(world)
    launcher.take()
    meanwhile(world.ports.job_launchers, "take", lambda: launcher.report(job_id, "started"))

    launcher.deregister()

    assert status(world, job_id) == "failed"
