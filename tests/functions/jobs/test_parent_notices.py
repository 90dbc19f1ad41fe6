"""A parent's session is resumed once for each child whose job has ended, and only while it is idle."""

from datetime import timedelta
from itertools import pairwise

import pytest

from functions.domain import parent_notices as rules
from functions.domain.parent_notices import MAX_CHECK_INTERVAL, MAX_JOINED, MAX_WAITING
from shared.domain.order import State
from shared.domain.spec import MAX_PROMPT, SessionSpec
from tests.functions.jobs.sessions import (
    SOON,
    created,
    end,
    job,
    jobs_of,
    message,
    patch,
    ran,
    report,
    resumed,
    run,
)
from tests.functions.world import CLIENT, STRANGER, World


def spec_of(world: World, order_id: str) -> SessionSpec:
    spec = world.order(order_id).spec
    assert isinstance(spec, SessionSpec)
    return spec


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
    world.clock.now += MAX_CHECK_INTERVAL

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
        world.clock.now += MAX_CHECK_INTERVAL
        world.sweep()
        for order_id, _ in resumed(world, "boss"):
            if world.order(order_id).state is State.QUEUED:
                run(world, order_id)
                world.clock.now += SOON
                end(world, order_id)

    prompts = "".join(prompt for _, prompt in resumed(world, "boss"))
    assert [prompts.count(f'"child-{number}"') for number in range(5)] == [1] * 5
    assert MAX_WAITING > MAX_JOINED
