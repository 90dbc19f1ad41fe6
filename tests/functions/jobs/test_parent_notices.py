"""A parent's session is resumed once for each child whose job has ended, and only while it is idle."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import pytest

from functions.domain import parent_notices as rules
from functions.domain.order import LAPSE_MARGIN
from functions.domain.parent_notices import MAILBOX_KEPT, MAX_JOINED, MAX_LOOK_INTERVAL, MAX_WAITING
from functions.domain.refusals import Unavailable
from functions.domain.timing import STOP_PATIENCE
from functions.engine import parent_notices
from functions.engine.parent_notices import ParentNotices
from functions.ports.orders import KEYS_KEPT
from shared.crash_points import Point
from shared.domain.order import State
from shared.domain.spec import MAX_PROMPT, SessionSpec
from tests.functions.capacity.orders import unavailable
from tests.functions.jobs import client
from tests.functions.jobs.sessions import created, end, job, jobs_of, message, patch, ran, report, resumed, run
from tests.functions.test_callback import OUTPUT, upload
from tests.functions.world import CLIENT, STRANGER, World
from tests.meanwhile import Meanwhile

SOON: Final = timedelta(seconds=1)


class Died(BaseException):
    """The process died here."""


def dies_at(point: Point) -> Callable[[Point], None]:
    def reach(reached: Point) -> None:
        if reached is point:
            raise Died

    return reach


def spec_of(world: World, order_id: str) -> SessionSpec:
    spec = world.order(order_id).spec
    assert isinstance(spec, SessionSpec)
    return spec


def settle(world: World, *order_ids: str) -> None:
    for order_id in order_ids:
        world.service(ParentNotices).settle(world.order(order_id))


@pytest.mark.parametrize(
    ("state", "words"),
    [("completed", "completed."), ("failed", "failed. The reason:\n\nProcess exited"), ("stopped", "was stopped.")],
)
def test_a_parent_is_resumed_with_the_end_of_its_child_s_job(world: World, state: str, words: str) -> None:
    child = ran(world, "child", "boss", state)

    [(order_id, prompt)] = resumed(world, "boss")
    assert order_id.startswith("job_")
    assert len(order_id) == len("job_") + 12
    assert f'The session "child", which you started, has ended: its job {child} {words}' in prompt
    assert world.ports.job_notices.all(10) == []


def test_the_parent_reads_its_child_s_last_message(world: World) -> None:
    run(world, child := job(world, "child", "boss"))
    created(world, "s-1", "child")
    message(world, "s-1", "There are 7 notes.")
    end(world, child)

    [(_, prompt)] = resumed(world, "boss")
    assert prompt.endswith(f"its job {child} completed. Its result:\n\nThere are 7 notes.")


def test_the_message_of_an_earlier_job_is_not_the_result_of_this_one(world: World) -> None:
    run(world, first := job(world, "child"))
    created(world, "s-1", "child")
    message(world, "s-1", "An old result.")
    end(world, first)
    world.clock.now += SOON
    ran(world, "child", "boss", resume=True)

    [(_, prompt)] = resumed(world, "boss")
    assert "An old result." not in prompt


def test_the_parent_is_resumed_where_its_last_job_could_run(world: World) -> None:
    ran(world, "boss", labels=("gpu",), agent_name="lead", project_dir="/srv/work", state="failed")
    world.clock.now += SOON
    ran(world, "child", "boss")

    [(order_id, _)] = resumed(world, "boss")
    spec = spec_of(world, order_id)
    assert (spec.labels, spec.agent_name, spec.project_dir) == (("gpu",), "lead", "/srv/work")


def test_a_job_without_a_parent_or_that_is_its_own_resumes_nobody(world: World) -> None:
    ran(world, "child")
    ran(world, "boss", "boss")

    assert resumed(world, "boss") == []
    assert world.ports.job_notices.all(10) == []


def test_two_sessions_that_are_each_other_s_parents_do_not_resume_each_other_for_ever(world: World) -> None:
    ran(world, "child", "boss")
    world.clock.now += SOON
    [(order_id, _)] = resumed(world, "boss")
    run(world, order_id)
    ran(world, "boss", "child")
    end(world, order_id)
    [(back, _)] = resumed(world, "child")
    run(world, back)
    end(world, back)

    assert (len(resumed(world, "boss")), len(resumed(world, "child"))) == (1, 1)


def test_another_account_s_session_of_the_parent_s_name_is_left_alone(world: World) -> None:
    run(world, job(world, "boss", key=STRANGER))
    ran(world, "child", "boss")

    assert len(resumed(world, "boss")) == 1
    assert resumed(world, "boss", "globex") == []


# Whichever way a job ends


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
    job = launcher.hears()["job"]
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


# A parent that is busy


def test_notices_wait_while_the_parent_is_busy_and_one_job_brings_all(world: World) -> None:
    run(world, parent := job(world, "boss"))
    children = [ran(world, name, "boss", state) for name, state in (("a", "completed"), ("b", "failed"))]
    world.clock.now += timedelta(minutes=1)
    world.sweep()
    assert resumed(world, "boss") == []

    end(world, parent)

    [(_, prompt)] = resumed(world, "boss")
    assert [prompt.index(child) for child in children] == sorted(prompt.index(child) for child in children)
    assert ("completed." in prompt, "Process exited with code 1" in prompt) == (True, True)


@pytest.mark.parametrize("claimed", [True, False])
def test_a_parent_whose_job_waits_or_was_claimed_is_busy(world: World, claimed: bool) -> None:
    parent = job(world, "boss")
    if claimed:
        world.claim(parent)
    ran(world, "child", "boss")
    assert resumed(world, "boss") == []
    world.post(f"/v1/orders/{parent}/cancel")
    if claimed:
        end(world, parent, "stopped")

    assert len(resumed(world, "boss")) == 1


def test_a_parent_whose_older_job_runs_is_busy_though_a_newer_one_has_ended(world: World) -> None:
    run(world, job(world, "boss"))
    world.clock.now += SOON
    world.post(f"/v1/orders/{job(world, 'boss')}/cancel")

    ran(world, "child", "boss")

    assert resumed(world, "boss") == []


def test_a_parent_that_runs_without_a_job_is_busy_until_it_stops(world: World) -> None:
    """Somebody works with it."""
    created(world, "s-1", "boss", CLIENT)
    ran(world, "child", "boss")
    assert resumed(world, "boss") == []

    report(world, "s-1", "session_stop", CLIENT)

    assert len(resumed(world, "boss")) == 1


def test_a_parent_that_is_resumed_without_a_job_is_busy_again(world: World) -> None:
    created(world, "s-1", "boss", CLIENT)
    report(world, "s-1", "session_stop", CLIENT)
    world.clock.now += SOON
    patch(world, "s-1", CLIENT, last_resumed_at="2026-11-22T12:00:01+00:00")
    ran(world, "child", "boss")

    assert resumed(world, "boss") == []


def test_notices_that_come_while_the_parent_is_resumed_wait_for_the_next_job(world: World) -> None:
    ran(world, "a", "boss")
    ran(world, "b", "boss")
    ran(world, "c", "boss")
    [(first, prompt)] = resumed(world, "boss")
    assert '"b"' not in prompt
    world.clock.now += SOON
    run(world, first)
    end(world, first)

    [_, (_, prompt)] = resumed(world, "boss")
    assert ['"a"' in prompt, '"b"' in prompt, '"c"' in prompt] == [False, True, True]


def test_a_parent_that_nobody_reported_as_idle_is_found_by_the_sweep(world: World) -> None:
    run(world, parent := job(world, "boss"))
    ran(world, "child", "boss")
    end(world, parent, settle=False)
    world.clock.now += MAX_LOOK_INTERVAL

    swept = world.sweep()

    assert swept["created"] == 1
    assert len(resumed(world, "boss")) == 1


def test_the_sweep_looks_at_a_long_job_ever_more_seldom(world: World) -> None:
    run(world, job(world, "child", "boss"))
    looked_after = []
    for minute in range(60):
        world.heartbeat((jobs_of(world, "child")[0].id, 1))
        before = world.ports.job_notices.all(1)
        world.sweep()
        if world.ports.job_notices.all(1) != before:
            looked_after.append(minute)
        world.clock.now += timedelta(minutes=1)

    assert len(looked_after) < 12
    assert max(later - earlier for earlier, later in pairwise(looked_after)) <= 11


def test_many_children_are_joined_in_jobs_that_have_room_for_their_results(world: World) -> None:
    run(world, parent := job(world, "boss"))
    for number in range(MAX_JOINED + 1):
        run(world, child := job(world, f"child-{number}", "boss"))
        created(world, f"s-{number}", f"child-{number}")
        message(world, f"s-{number}", f"{number}:" + "x" * 5000)
        end(world, child)
    end(world, parent)

    [(first, prompt)] = resumed(world, "boss")
    assert len(prompt) <= MAX_PROMPT
    assert all(f"\n\n{number}:xx" in prompt for number in range(MAX_JOINED))
    assert prompt.count("[…]") == MAX_JOINED
    run(world, first)
    world.clock.now += SOON
    end(world, first)
    [_, (_, prompt)] = resumed(world, "boss")
    assert f"\n\n{MAX_JOINED}:xx" in prompt


def test_a_mailbox_that_is_full_leaves_the_rest_outside_and_loses_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_WAITING", 3)
    run(world, parent := job(world, "boss"))
    for number in range(5):
        ran(world, f"child-{number}", "boss")
    assert len(world.ports.job_notices.all(10)) == 2
    end(world, parent)
    for _ in range(2):
        world.clock.now += MAX_LOOK_INTERVAL
        world.sweep()
        for order_id, _ in resumed(world, "boss"):
            if world.order(order_id).state is State.QUEUED:
                run(world, order_id)
                world.clock.now += SOON
                end(world, order_id)

    prompts = "".join(prompt for _, prompt in resumed(world, "boss"))
    assert [prompts.count(f'"child-{number}"') for number in range(5)] == [1] * 5
    assert MAX_WAITING > MAX_JOINED


# Deaths and failures


@pytest.mark.parametrize("point", [Point.NOTICE_STORED, Point.NOTICE_MOVED, Point.NOTICE_SENT])
def test_a_death_at_any_step_neither_loses_nor_doubles_the_parent_s_job(
    world: World, monkeypatch: pytest.MonkeyPatch, point: Point
) -> None:
    monkeypatch.setattr(world.http.application, "testing", True)
    with monkeypatch.context() as dying:
        dying.setattr(parent_notices, "reach", dies_at(point))
        with pytest.raises(Died):
            ran(world, "child", "boss")
    if not jobs_of(world, "child"):
        ran(world, "child", "boss")  # its client sends the request again
    for _ in range(3):
        world.clock.now += MAX_LOOK_INTERVAL
        world.sweep()

    assert len(resumed(world, "boss")) == 1
    assert world.ports.job_notices.all(10) == []


def test_a_delivery_that_died_after_the_job_s_creation_is_finished_while_that_job_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.http.application, "testing", True)
    with monkeypatch.context() as dying:
        dying.setattr(parent_notices, "reach", dies_at(Point.NOTICE_SENT))
        with pytest.raises(Died):
            ran(world, "child", "boss")
    world.clock.now += MAX_LOOK_INTERVAL

    world.sweep()

    [mailbox] = world.ports.parent_mailboxes.all(10)
    assert mailbox.empty


def test_a_repeated_settlement_changes_nothing(world: World) -> None:
    child = ran(world, "child", "boss")
    [(order_id, _)] = resumed(world, "boss")
    run(world, order_id)
    end(world, order_id)
    settle(world, child, child)

    assert len(resumed(world, "boss")) == 1


def test_a_settlement_that_read_the_notice_before_another_had_sent_it_does_not_send_it_again(world: World) -> None:
    run(world, child := job(world, "child", "boss"))
    notice = world.ports.job_notices.get(child)
    assert notice is not None
    end(world, child)
    [(order_id, _)] = resumed(world, "boss")
    run(world, order_id)
    world.ports.job_notices.add(child, notice)  # as the other one has read it

    settle(world, child)
    ran(world, "another", "boss")
    world.clock.now += SOON
    end(world, order_id)

    [_, (_, prompt)] = resumed(world, "boss")
    assert (child in prompt, '"another"' in prompt) == (False, True)
    assert world.ports.job_notices.all(10) == []


def test_a_notice_that_a_death_left_behind_is_gone_before_the_mailbox_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it could be moved again once the mailbox has forgotten it."""
    monkeypatch.setattr(world.http.application, "testing", True)
    with monkeypatch.context() as dying:
        dying.setattr(parent_notices, "reach", dies_at(Point.NOTICE_MOVED))
        with pytest.raises(Died):
            ran(world, "child", "boss")

    world.service(ParentNotices).deliver("acme", "boss")

    assert len(resumed(world, "boss")) == 1
    assert world.ports.job_notices.all(10) == []


def test_a_store_that_fails_does_not_fail_the_report_and_the_sweep_resumes_the_parent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world, child := job(world, "child", "boss"))

    def fail(*_: object) -> None:
        raise Unavailable("The store does not answer.")

    with monkeypatch.context() as broken:
        for name in ("job_notices", "parent_mailboxes", "agent_sessions"):
            for method in ("get", "upsert", "latest"):
                broken.setattr(getattr(world.ports, name), method, fail)
        end(world, child)
    assert resumed(world, "boss") == []
    world.clock.now += MAX_LOOK_INTERVAL
    world.sweep()

    assert len(resumed(world, "boss")) == 1


def test_a_job_is_not_created_if_its_notice_cannot_be_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Unavailable("The store does not answer.")

    monkeypatch.setattr(world.ports.job_notices, "upsert", fail)
    order = SessionSpec(session_name="child", prompt="", parent_session_name="boss").model_dump(mode="json")

    answer = world.post("/v1/orders", {"order": order}, headers={"Idempotency-Key": "1"})

    assert answer.status_code == 503
    assert jobs_of(world, "child") == []


def test_the_notice_of_a_job_that_was_never_created_is_forgotten(world: World) -> None:
    order = SessionSpec(session_name="child", prompt="", parent_session_name="boss").model_dump(mode="json")
    for _ in range(2):
        world.post("/v1/orders", {"order": order}, headers={"Idempotency-Key": "1"})
    assert len(world.ports.job_notices.all(10)) == 2  # the repeat would have made another
    for _ in range(5):
        world.clock.now += MAX_LOOK_INTERVAL
        world.sweep()

    assert [notice.order_id for notice in world.ports.job_notices.all(10)] == [jobs_of(world, "child")[0].id]


def test_the_notice_of_a_job_whose_creation_takes_long_is_kept(world: World, meanwhile: Meanwhile) -> None:
    def sweep_meanwhile() -> None:
        world.clock.now += timedelta(minutes=1)
        world.sweep()

    meanwhile(world.ports.store, "create", sweep_meanwhile)
    ran(world, "child", "boss")

    assert len(resumed(world, "boss")) == 1


def test_a_job_that_was_created_long_before_its_mailbox_heard_of_it_is_not_created_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.http.application, "testing", True)
    with monkeypatch.context() as dying:
        dying.setattr(parent_notices, "reach", dies_at(Point.NOTICE_SENT))
        with pytest.raises(Died):
            ran(world, "child", "boss")
    world.clock.now += KEYS_KEPT + SOON
    world.ports.store.forget_keys(world.clock(), 100)

    world.sweep()

    assert len(resumed(world, "boss")) == 1
    [mailbox] = world.ports.parent_mailboxes.all(10)
    assert mailbox.empty


def test_a_notice_that_comes_while_an_empty_mailbox_is_removed_is_not_lost(world: World, meanwhile: Meanwhile) -> None:
    ran(world, "first", "boss")
    [(first, _)] = resumed(world, "boss")
    run(world, first)
    end(world, first)
    world.clock.now += MAILBOX_KEPT + SOON
    run(world, parent := job(world, "boss"))
    run(world, child := job(world, "child", "boss"))
    meanwhile(world.ports.parent_mailboxes, "take", lambda: end(world, child))
    world.sweep()

    end(world, parent)

    assert len(resumed(world, "boss")) == 2


def test_an_empty_mailbox_is_forgotten(world: World) -> None:
    ran(world, "child", "boss")
    assert len(world.ports.parent_mailboxes.all(10)) == 1
    world.clock.now += MAILBOX_KEPT + SOON
    world.sweep()

    assert world.ports.parent_mailboxes.all(10) == []


def test_a_delivery_that_looked_before_another_created_the_parent_s_job_creates_no_second(
    world: World, meanwhile: Meanwhile
) -> None:
    """Between its look at the parent and its write, others' ends come, and their delivery creates the job."""
    run(world, first := job(world, "a", "boss"))
    run(world, second := job(world, "b", "boss"))
    run(world, third := job(world, "c", "boss"))
    meanwhile(world.ports.parent_mailboxes, "change", lambda: [end(world, second), end(world, third)])

    end(world, first)
    world.clock.now += MAX_LOOK_INTERVAL
    world.sweep()

    [(_, prompt)] = resumed(world, "boss")
    assert ['"a"' in prompt, '"b"' in prompt, '"c"' in prompt] == [True, True, False]
