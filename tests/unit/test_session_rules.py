"""The lifecycle of an agent's job: it runs once, receives stop commands by polls, and may demand labels."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from functions.domain.events import AnyEvent, Cancel, Claim, Exit, Expire, Fail, Lapse, Retry, Return, Start, Succeed
from functions.domain.order import LAPSE_MARGIN, Order
from functions.domain.parent_notices import ChildEnd, End, Mailbox, after_sending, with_sending
from functions.domain.rules import advance
from functions.domain.timing import STOP_PATIENCE, due_event
from shared.domain.lanes import MAX_OFFERED, lane, of_sessions
from shared.domain.order import LEASE, Reason, State
from shared.domain.spec import SessionSpec
from tests.factories import LAUNCHER, NOW, SESSION, an_order

LAPSED = NOW + LEASE + LAPSE_MARGIN


def claimed(order: Order, attended: bool = False) -> Order:
    return advance(order, Claim("claim-1", LAUNCHER, NOW + LEASE, attended), NOW)


def running(attended: bool = False) -> Order:
    return advance(claimed(an_order(SESSION), attended), Start("started@1", 1), NOW)


def swept(order: Order, now: datetime) -> Order:
    event = due_event(order, now, "sweep-1")
    assert event is not None
    return advance(order, event, now)


@pytest.mark.parametrize(
    "lost",
    [
        Lapse("lost-1", 1),
        Exit("lost-1", 1, LAUNCHER, "gone", 1),
        Retry("lost-1", 1, Reason.LAUNCH_FAILED, "gone", LAUNCHER),
        Return("lost-1", 1, LAUNCHER, Reason.RETURNED, "going down"),
    ],
)
def test_a_session_that_is_lost_while_it_runs_is_not_run_again(lost: AnyEvent) -> None:
    assert advance(running(attended=True), lost, LAPSED).state is State.FAILED


def test_a_claim_that_lapses_before_the_start_queues_the_session_again_and_uses_no_attempt() -> None:
    again = swept(claimed(an_order(SESSION)), LAPSED)

    assert (again.state, again.attempt, again.reason) == (State.QUEUED, 0, Reason.LEASE_LAPSED)


def test_a_running_session_s_lease_does_not_lapse_without_heartbeats() -> None:
    assert due_event(running(), NOW + timedelta(hours=1), "sweep-1") is None


@pytest.mark.parametrize("attended", [False, True])
def test_a_session_that_is_to_stop_goes_on_until_its_launcher_reports(attended: bool) -> None:
    stopping = advance(running(attended), Cancel("cancel@client"), NOW)

    assert (stopping.state, stopping.cancel_requested_at) == (State.RUNNING, NOW)
    assert advance(claimed(an_order(SESSION), attended), Cancel("cancel@client"), NOW).state is State.CLAIMED


def test_a_report_of_the_start_does_not_end_a_stop() -> None:
    stopping = advance(claimed(an_order(SESSION)), Cancel("cancel@client"), NOW)
    started = advance(stopping, Start("started@1", 1), NOW)

    assert (started.state, started.cancel_requested_at) == (State.RUNNING, NOW)


def test_a_session_that_fails_while_it_is_to_stop_has_stopped() -> None:
    stopping = advance(running(), Cancel("cancel@client"), NOW)

    failed = advance(stopping, Fail("failed-1", 1, Reason.PROGRAM_FAILED, "exit code -15"), NOW)

    assert (failed.state, failed.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert advance(stopping, Succeed("completed-1", 1), NOW).state is State.SUCCEEDED


def test_a_stop_that_nobody_reports_ends_the_session_as_stopped() -> None:
    stopping = advance(running(), Cancel("cancel@client"), NOW)

    assert due_event(stopping, NOW + STOP_PATIENCE - timedelta(seconds=1), "sweep-1") is None
    assert swept(stopping, NOW + STOP_PATIENCE).state is State.CANCELLED


@pytest.mark.parametrize(
    ("labels", "epoch", "state", "reason"),
    [
        (("gpu", "os=linux"), 0, State.FAILED, Reason.UNMATCHED),
        (("gpu",), 1, State.EXPIRED, Reason.QUEUE_TTL),
        ((), 0, State.EXPIRED, Reason.QUEUE_TTL),
    ],
)
def test_a_session_that_nobody_could_take_fails_and_names_its_labels(
    labels: tuple[str, ...], epoch: int, state: State, reason: Reason
) -> None:
    order = replace(an_order(SESSION.model_copy(update={"labels": labels})), epoch=epoch)
    ended = advance(order, Expire("sweep-1"), order.expires_at)

    assert (ended.state, ended.reason) == (state, reason)
    if reason is Reason.UNMATCHED:
        assert ended.message == "No launcher that offers gpu, os=linux took it in time."


@pytest.mark.parametrize(
    ("demanded", "offered", "fits"),
    [
        ((), (), True),
        ((), ("gpu",), True),
        (("gpu",), ("gpu", "os=linux"), True),
        (("os=linux", "gpu"), ("gpu", "os=linux", "zone=a"), True),
        (("gpu", "gpu"), ("gpu",), True),
        (("gpu",), (), False),
        (("gpu", "zone=a"), ("gpu", "os=linux"), False),
    ],
)
def test_a_launcher_serves_the_sessions_that_demand_no_label_that_it_lacks(
    demanded: tuple[str, ...], offered: tuple[str, ...], fits: bool
) -> None:
    spec = SessionSpec(session_name="s", prompt="p", labels=demanded)

    assert (lane(spec) in of_sessions(offered)) is fits


def test_a_launcher_s_lanes_are_few() -> None:
    assert len(of_sessions([f"label-{number}" for number in range(MAX_OFFERED)])) == 93


A, B = ChildEnd("a", "child-a", End.COMPLETED), ChildEnd("b", "child-b", End.FAILED)


def test_a_mailbox_whose_next_job_is_being_created_fixes_no_other_notices() -> None:
    mailbox = Mailbox("acme", "boss", NOW, waiting=(B,), sending=(A,))

    assert with_sending(mailbox) is mailbox


def test_the_slower_of_two_deliveries_does_not_drop_what_the_next_job_brings() -> None:
    mailbox = Mailbox("acme", "boss", NOW, sending=(B,), sent=("a",))

    assert after_sending(mailbox, (A,), NOW) is mailbox
