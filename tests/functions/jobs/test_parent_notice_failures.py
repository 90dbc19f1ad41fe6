"""A death or a failure at any step neither loses nor doubles the job that resumes a parent."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from functions.domain.parent_notices import MAILBOX_TTL, MAX_CHECK_INTERVAL
from functions.domain.refusals import Unavailable
from functions.engine import parent_notices
from functions.engine.parent_notices import ParentNotices
from functions.ports.orders import KEY_TTL
from shared.crash_points import Point
from shared.domain.spec import SessionSpec
from tests.functions.jobs.sessions import (
    SOON,
    end,
    job,
    jobs_of,
    ran,
    resumed,
    run,
    settle,
)
from tests.functions.world import World
from tests.meanwhile import Failing, Meanwhile

UNAVAILABLE: Final = Unavailable("The store does not answer.")


class Died(BaseException):
    """The process died here."""


def dies_at(point: Point) -> Callable[[Point], None]:
    def reach(reached: Point) -> None:
        if reached is point:
            raise Died

    return reach


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
        world.clock.now += MAX_CHECK_INTERVAL
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
    world.clock.now += MAX_CHECK_INTERVAL

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
    world: World, failing: Failing
) -> None:
    run(world, child := job(world, "child", "boss"))
    mend = [
        failing(records, method, UNAVAILABLE)
        for records in (world.ports.job_notices, world.ports.parent_mailboxes, world.ports.agent_sessions)
        for method in ("get", "upsert", "latest")
    ]

    end(world, child)

    for works_again in mend:
        works_again()
    assert resumed(world, "boss") == []
    world.clock.now += MAX_CHECK_INTERVAL
    world.sweep()

    assert len(resumed(world, "boss")) == 1


def test_a_job_is_not_created_if_its_notice_cannot_be_stored(world: World, failing: Failing) -> None:
    failing(world.ports.job_notices, "upsert", UNAVAILABLE)
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
        world.clock.now += MAX_CHECK_INTERVAL
        world.sweep()

    assert [notice.order_id for notice in world.ports.job_notices.all(10)] == [jobs_of(world, "child")[0].id]


def test_the_notice_of_a_job_whose_creation_takes_long_is_kept(world: World, meanwhile: Meanwhile) -> None:
    def sweep_meanwhile() -> None:
        world.clock.now += timedelta(minutes=1)
        world.sweep()

    meanwhile(world.ports.store, "create", sweep_meanwhile)
    ran(world, "child", "boss")

    assert len(resumed(world, "boss")) == 1


def test_a_job_that_was_created_long_before_its_mailbox_was_notified_is_not_created_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.http.application, "testing", True)
    with monkeypatch.context() as dying:
        dying.setattr(parent_notices, "reach", dies_at(Point.NOTICE_SENT))
        with pytest.raises(Died):
            ran(world, "child", "boss")
    world.clock.now += KEY_TTL + SOON
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
    world.clock.now += MAILBOX_TTL + SOON
    run(world, parent := job(world, "boss"))
    run(world, child := job(world, "child", "boss"))
    meanwhile(world.ports.parent_mailboxes, "take", lambda: end(world, child))
    world.sweep()

    end(world, parent)

    assert len(resumed(world, "boss")) == 2


def test_an_empty_mailbox_is_forgotten(world: World) -> None:
    ran(world, "child", "boss")
    assert len(world.ports.parent_mailboxes.all(10)) == 1
    world.clock.now += MAILBOX_TTL + SOON
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
    world.clock.now += MAX_CHECK_INTERVAL
    world.sweep()

    [(_, prompt)] = resumed(world, "boss")
    assert ['"a"' in prompt, '"b"' in prompt, '"c"' in prompt] == [True, True, False]
