"""What a launcher reports of its jobs: each report counts once, and only from the launcher that holds the job."""

import json
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.domain.order import State
from shared.log_events import LogEvent
from tests.functions.jobs.client import OK, Launcher, create, get, register, status, stop
from tests.functions.world import ADMIN, LAUNCHER, World
from tests.meanwhile import Meanwhile

NOT_REGISTERED = (401, {"detail": "Launcher not registered"})
NO_JOB = (404, {"detail": "Job not found"})


def whys(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return why reports were ignored."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line["why"] for line in lines if line["event"] == LogEvent.CALLBACK_IGNORED]


def brief(answer: TestResponse) -> tuple[int, Any]:
    return answer.status_code, answer.get_json()


@pytest.fixture
def job_id(world: World, launcher: Launcher) -> str:
    """A job that the launcher has claimed."""
    created = create(world)
    assert launcher.take() == created
    return created


def test_a_job_that_is_started_runs(world: World, launcher: Launcher, job_id: str) -> None:
    world.clock.now += timedelta(seconds=2)

    assert launcher.accepted(job_id, "started")

    job = get(world, job_id)
    assert (job["status"], job["started_at"], job["completed_at"]) == ("running", "2026-11-22T12:00:02+00:00", None)


@pytest.mark.parametrize("started", [True, False])
def test_a_job_that_is_completed_has_ended_without_an_error(
    world: World, launcher: Launcher, job_id: str, started: bool
) -> None:
    if started:
        launcher.report(job_id, "started")
    world.clock.now += timedelta(seconds=3)

    assert launcher.accepted(job_id, "completed")

    job = get(world, job_id)
    assert (job["status"], job["error"], job["launcher_id"]) == ("completed", None, launcher.id)
    assert job["completed_at"] == "2026-11-22T12:00:03+00:00"
    assert world.view(job_id)["state"] == "succeeded"


@pytest.mark.parametrize("started", [True, False])
def test_a_job_that_failed_has_the_launcher_s_error(
    world: World, launcher: Launcher, job_id: str, started: bool
) -> None:
    """If the process could not be started, there was no report of a start before."""
    if started:
        launcher.report(job_id, "started")

    assert launcher.accepted(job_id, "failed", error="Process exited with code 1")

    job = get(world, job_id)
    assert (job["status"], job["error"]) == ("failed", "Process exited with code 1")
    assert job["completed_at"] is not None


@pytest.mark.parametrize("error", ["", "x" * 900_000, "🚀" * 5000])
def test_a_failure_counts_whatever_its_process_wrote(world: World, launcher: Launcher, job_id: str, error: str) -> None:
    assert launcher.accepted(job_id, "failed", error=error)

    assert status(world, job_id) == "failed"
    assert get(world, job_id)["error"] == (error[:4000] or "The job ended: program_failed")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb"half \ud83d", "half \ufffd"),
        (rb"\udcff\ude80 \ud83d\ude80", "\ufffd\ufffd \U0001f680"),
        (rb"\\ud83d", "\\ud83d"),
        (b"Latin-1 \xe9", "Latin-1 \ufffd"),
    ],
)
def test_a_failure_counts_although_a_character_of_its_text_is_cut(
    world: World, launcher: Launcher, job_id: str, sent: bytes, kept: str
) -> None:
    body = b'{"launcher_id": "%s", "error": "%s"}' % (launcher.id.encode(), sent)

    answer = world.http.post(
        f"/launcher/jobs/{job_id}/failed", data=body, headers={"Authorization": f"Bearer {launcher.key}"}
    )

    assert (answer.status_code, answer.get_json()) == (200, {"ok": True})
    assert get(world, job_id)["error"] == kept


@pytest.mark.parametrize("signal", [{}, {"signal": "SIGTERM"}, {"signal": "SIGKILL"}])
def test_a_job_that_was_stopped_on_request_is_stopped(
    world: World, launcher: Launcher, job_id: str, signal: dict[str, str]
) -> None:
    launcher.report(job_id, "started")
    stop(world, job_id)

    assert launcher.accepted(job_id, "stopped", **signal)

    job = get(world, job_id)
    assert (job["status"], job["error"]) == ("stopped", None)
    assert job["completed_at"] is not None


def test_a_job_that_was_stopped_without_a_request_has_failed(world: World, launcher: Launcher, job_id: str) -> None:
    launcher.report(job_id, "started")

    assert launcher.accepted(job_id, "stopped", signal="SIGKILL")

    job = get(world, job_id)
    assert (job["status"], job["error"]) == ("failed", "Its launcher stopped it with SIGKILL.")


def test_a_start_does_not_end_the_stop(world: World, launcher: Launcher, job_id: str) -> None:
    stop(world, job_id)

    assert launcher.accepted(job_id, "started")

    job = get(world, job_id)
    assert (job["status"], job["started_at"] is not None) == ("stopping", True)


def test_a_failure_while_stopping_is_the_end_of_the_stop(
    world: World, launcher: Launcher, job_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After SIGTERM, the launcher's supervisor may report the process's end before the stop's."""
    launcher.report(job_id, "started")
    stop(world, job_id)

    assert launcher.accepted(job_id, "failed", error="Process exited with code -15")
    assert launcher.accepted(job_id, "stopped")

    assert status(world, job_id) == "stopped"
    assert whys(capsys) == ["contradicting"]


def test_a_failure_that_comes_with_the_stop_is_its_end(
    world: World, launcher: Launcher, job_id: str, meanwhile: Meanwhile
) -> None:
    launcher.report(job_id, "started")
    meanwhile(world.ports.store, "apply", lambda: stop(world, job_id))

    assert launcher.accepted(job_id, "failed")

    assert status(world, job_id) == "stopped"


def test_a_completion_while_stopping_counts(world: World, launcher: Launcher, job_id: str) -> None:
    launcher.report(job_id, "started")
    stop(world, job_id)

    assert launcher.accepted(job_id, "completed")

    assert status(world, job_id) == "completed"


@pytest.mark.parametrize("started", [True, False])
def test_a_stop_that_its_launcher_ignores_ends_after_a_minute(
    world: World, launcher: Launcher, job_id: str, started: bool
) -> None:
    if started:
        launcher.report(job_id, "started")
    stop(world, job_id)
    launcher.command_or_job()
    world.clock.now += timedelta(seconds=60)
    world.sweep()

    assert status(world, job_id) == "stopped"
    assert launcher.accepted(job_id, "stopped")


@pytest.mark.parametrize("kind", ["completed", "failed", "stopped"])
def test_a_repeat_changes_nothing(
    world: World, launcher: Launcher, job_id: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in ("started", "started", kind):
        assert launcher.accepted(job_id, one)
    ended = get(world, job_id)
    world.clock.now += timedelta(minutes=1)

    assert launcher.accepted(job_id, kind)

    assert get(world, job_id) == ended
    assert whys(capsys) == ["repeated", "repeated"]


@pytest.mark.parametrize("first", ["completed", "failed"])
@pytest.mark.parametrize("second", ["started", "completed", "failed", "stopped"])
def test_the_first_end_wins(world: World, launcher: Launcher, job_id: str, first: str, second: str) -> None:
    launcher.report(job_id, "started")
    launcher.report(job_id, first)
    ended = get(world, job_id)

    assert launcher.accepted(job_id, second)

    assert get(world, job_id) == ended


def test_a_report_on_a_job_that_was_stopped_before_it_ran_changes_nothing(world: World, launcher: Launcher) -> None:
    job_id = create(world)
    stop(world, job_id)

    for kind in ("started", "completed", "failed", "stopped"):
        assert launcher.accepted(job_id, kind)

    assert status(world, job_id) == "stopped"


@pytest.mark.parametrize("kind", ["started", "completed", "failed", "stopped"])
@pytest.mark.parametrize("state", ["pending", "claimed", "running"])
def test_another_launcher_s_report_changes_nothing(
    world: World, launcher: Launcher, kind: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = create(world)
    if state != "pending":
        launcher.take()
    if state == "running":
        launcher.report(job_id, "started")
    before = get(world, job_id)

    assert register(world).accepted(job_id, kind)

    assert get(world, job_id) == before
    assert whys(capsys) == ["anothers"]


@pytest.mark.parametrize("kind", ["started", "completed", "failed", "stopped"])
def test_a_late_report_of_a_job_that_another_launcher_has_changes_nothing(
    world: World, launcher: Launcher, job_id: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lapse(job_id)
    other = register(world)
    assert other.run() == job_id
    before = get(world, job_id)

    assert launcher.accepted(job_id, kind)

    assert get(world, job_id) == before
    assert whys(capsys) == ["late"]


@pytest.mark.parametrize(
    ("kind", "after"),
    [("started", "running"), ("completed", "completed"), ("failed", "failed"), ("stopped", "failed")],
)
def test_a_late_report_of_a_job_that_waits_again_counts_and_nobody_else_gets_the_job(
    world: World, launcher: Launcher, job_id: str, kind: str, after: str
) -> None:
    world.clock.now += timedelta(seconds=66)
    world.sweep()
    assert status(world, job_id) == "pending"

    assert launcher.accepted(job_id, kind)

    job = get(world, job_id)
    assert (job["status"], job["launcher_id"]) == (after, launcher.id)
    world.clock.now += timedelta(minutes=1)
    assert register(world).command_or_job() == {}


def test_a_late_start_that_another_launcher_s_claim_overtakes_changes_nothing(
    world: World, launcher: Launcher, job_id: str, meanwhile: Meanwhile
) -> None:
    world.lapse(job_id)
    other = register(world)
    launcher.heartbeat()
    meanwhile(world.ports.store, "apply", other.take)

    assert launcher.accepted(job_id, "started")

    assert (status(world, job_id), get(world, job_id)["launcher_id"]) == ("claimed", other.id)


def test_a_late_start_after_the_queue_s_end_changes_nothing(world: World, launcher: Launcher, job_id: str) -> None:
    world.lapse(job_id)
    world.clock.now = world.order(job_id).expires_at
    launcher = Launcher(world, launcher.id)

    answer = launcher.report(job_id, "started")

    assert brief(answer) in (NOT_REGISTERED, (200, OK))
    assert world.order(job_id).state is State.QUEUED


def test_an_order_that_is_no_job_is_not_found(world: World, launcher: Launcher) -> None:
    order_id = world.place()["id"]

    assert brief(launcher.report(order_id, "started")) == NO_JOB


@pytest.mark.parametrize("kind", ["started", "completed", "failed", "stopped"])
def test_an_unknown_launcher_comes_before_an_unknown_job(world: World, launcher: Launcher, kind: str) -> None:
    unknown = Launcher(world, "lnch_0123456789ab")

    assert brief(unknown.report("job_0123456789ab", kind)) == NOT_REGISTERED
    assert brief(launcher.report("job_0123456789ab", kind)) == NO_JOB
    assert world.post(f"/launcher/jobs/job_1/{kind}", {"error": "x"}, LAUNCHER).status_code == 422


def test_a_failure_without_an_error_is_wrong(world: World, launcher: Launcher, job_id: str) -> None:
    answer = world.post(f"/launcher/jobs/{job_id}/failed", {"launcher_id": launcher.id}, LAUNCHER)

    assert answer.status_code == 422
    assert answer.get_json()["detail"] == [{"type": "missing", "loc": ["body", "error"], "msg": "Field required"}]
    assert status(world, job_id) == "claimed"


def test_a_report_shows_life(world: World, launcher: Launcher, job_id: str) -> None:
    world.clock.now += timedelta(seconds=50)
    launcher.report(job_id, "started")

    record = launcher.record()
    assert record is not None
    assert record.last_seen_at == world.clock.now


def test_a_failed_job_runs_again_only_if_somebody_asks_for_it(world: World, launcher: Launcher, job_id: str) -> None:
    launcher.report(job_id, "started")
    launcher.report(job_id, "failed")
    assert launcher.command_or_job() == {}

    answer = world.post(f"/v1/orders/{job_id}/requeue", key=ADMIN)

    assert answer.status_code == 201
    assert launcher.take() == answer.get_json()["id"]
