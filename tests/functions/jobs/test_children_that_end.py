"""However a child's job ends, its parent's session is resumed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from functions.domain.order import LAPSE_MARGIN
from functions.domain.timing import STOP_PATIENCE
from tests.functions.capacity.orders import unavailable
from tests.functions.jobs import client
from tests.functions.jobs.sessions import (
    SOON,
    created,
    end,
    job,
    ran,
    resumed,
    run,
)
from tests.functions.test_callback import OUTPUT, upload
from tests.functions.world import CLIENT, World
from tests.meanwhile import Meanwhile


def test_a_job_that_is_stopped_while_it_waits_resumes_its_parent(world: World) -> None:
    child = job(world, "child", "boss")

    world.post(f"/v1/orders/{child}/cancel")

    assert len(resumed(world, "boss")) == 1


@pytest.mark.parametrize("status", ["failed", "machine_gone", "stopped"])
def test_a_job_that_a_launcher_of_ours_reports_as_ended_resumes_its_parent(world: World, status: str) -> None:
    run(world, child := job(world, "child", "boss"))
    if status == "stopped":
        world.post(f"/v1/orders/{child}/cancel")
    why: dict[str, dict[str, Any]] = {
        "failed": {"reason": "program_failed", "failure": "permanent", "message": "exit 1"},
        "machine_gone": {"exit_code": 1, "message": "exit 1"},
    }

    assert world.update(child, status, **why.get(status, {})).status_code == 200

    assert len(resumed(world, "boss")) == 1


def test_a_job_whose_worker_reports_its_end_resumes_its_parent(world: World) -> None:
    run(world, completed := job(world, "child", "boss"))
    run(world, failed := job(world, "another", "boss-2"))
    why: dict[str, Any] = {"reason": "program_failed", "failure": "permanent", "message": "exit 1"}
    upload(world, completed)

    assert world.call_back(completed, "completed", **OUTPUT).status_code == 200
    assert world.call_back(failed, "failed", **why).status_code == 200

    assert (len(resumed(world, "boss")), len(resumed(world, "boss-2"))) == (1, 1)


def test_a_worker_that_repeats_its_report_resumes_the_parent_whose_notice_failed(
    world: World, meanwhile: Meanwhile
) -> None:
    run(world, child := job(world, "child", "boss"))
    upload(world, child)
    meanwhile(world.ports.job_notices, "get", unavailable)
    assert world.call_back(child, "completed", **OUTPUT).status_code == 200
    assert resumed(world, "boss") == []

    assert world.call_back(child, "completed", **OUTPUT).status_code == 200

    assert len(resumed(world, "boss")) == 1


@pytest.mark.parametrize("kind", ["completed", "failed", "stopped"])
def test_a_job_whose_launcher_reports_its_end_resumes_its_parent(world: World, kind: str) -> None:
    child = client.create(world, session_name="child", parent_session_name="boss")
    launcher = client.register(world)
    assert launcher.run() == child
    assert resumed(world, "boss") == []
    if kind == "stopped":
        client.stop(world, child)

    assert launcher.accepted(child, kind)

    [(order_id, _)] = resumed(world, "boss")
    job = launcher.command_or_job()["job"]
    assert (job["job_id"], job["type"], job["session_name"]) == (order_id, "resume_session", "boss")


def test_a_job_that_is_stopped_by_its_client_before_it_ran_resumes_its_parent(world: World) -> None:
    child = client.create(world, session_name="child", parent_session_name="boss")

    client.stop(world, child)

    assert len(resumed(world, "boss")) == 1


@pytest.mark.parametrize("way", ["silence", "deregistration"])
def test_a_job_whose_launcher_is_lost_resumes_its_parent(world: World, way: str) -> None:
    child = client.create(world, session_name="child", parent_session_name="boss")
    launcher = client.register(world)
    launcher.run()
    created(world, "s-1", "child")

    if way == "silence":
        client.fall_silent(world)
    else:
        launcher.deregister()

    assert client.status(world, child) == "failed"
    assert world.get("/sessions/s-1/status").get_json() == {"status": "finished"}
    [(_, prompt)] = resumed(world, "boss")
    assert launcher.id in prompt


def not_matched(world: World) -> str:
    child = job(world, "child", "boss", labels=("gpu",))
    world.clock.now = world.order(child).expires_at
    return child


def not_started(world: World) -> str:
    child = job(world, "child", "boss")
    world.clock.now = world.order(child).expires_at
    return child


def lapsed(world: World) -> str:
    run(world, child := job(world, "child", "boss"))
    world.clock.now += timedelta(minutes=2)
    return child


def not_reported_as_stopped(world: World) -> str:
    child = job(world, "child", "boss")
    assert world.claim(child, attended=False) is not None
    world.post(f"/v1/orders/{child}/cancel")
    world.clock.now += STOP_PATIENCE
    return child


def test_a_job_whose_session_is_stopped_before_it_ran_resumes_its_parent(world: World) -> None:
    created(world, "s-1", "child", CLIENT)
    job(world, "child", "boss")

    assert world.post("/sessions/s-1/stop").get_json()["status"] == "stopped"

    assert len(resumed(world, "boss")) == 1


def test_the_sweep_that_ends_a_job_resumes_its_parent_even_if_it_has_just_looked_at_its_notice(world: World) -> None:
    run(world, child := job(world, "child", "boss"))
    lease = world.order(child).lease
    assert lease is not None
    world.clock.now = lease.until
    world.sweep()
    world.clock.now += LAPSE_MARGIN

    world.sweep()

    assert world.order(child).final
    assert len(resumed(world, "boss")) == 1


@pytest.mark.parametrize("lost", [not_matched, not_started, lapsed, not_reported_as_stopped])
def test_a_job_that_the_sweep_ends_resumes_its_parent(world: World, lost: Callable[[World], str]) -> None:
    child = lost(world)
    assert resumed(world, "boss") == []

    world.sweep()

    assert world.order(child).final
    assert len(resumed(world, "boss")) == 1


def test_the_successor_of_a_failed_job_resumes_the_parent_again(world: World) -> None:
    child = ran(world, "child", "boss", "failed")
    run(world, resumed(world, "boss")[0][0])
    end(world, resumed(world, "boss")[0][0])
    world.clock.now += SOON
    successor = world.post(f"/v1/orders/{child}/requeue").get_json()["id"]
    run(world, successor)
    end(world, successor)

    assert len(resumed(world, "boss")) == 2
