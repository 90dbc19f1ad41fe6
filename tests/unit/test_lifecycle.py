"""The lifecycle's promises, drawn from its own table: every legal row, and at each step an intruder's event."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.domain.events import (
    BootTimeout,
    Cancel,
    Discard,
    EventKind,
    Exit,
    Expire,
    Fail,
    Lapse,
    Note,
    Provision,
    Register,
    Release,
    Renew,
    Retry,
    Return,
    Ring,
    Start,
    Stop,
    Succeed,
)
from functions.domain.limits import DEFAULT_LIMITS, POLICIES, OrderLimits
from functions.domain.order import HELD, LAPSE_MARGIN, UPLOAD_VALID, Lease, Order, place
from functions.domain.refusals import LeaseLost, WrongState
from functions.domain.rules import RULES, advance
from functions.domain.timing import backoff, due_event
from shared.domain.order import FINAL, LEASE, Reason, State
from shared.domain.spec import AnySpec, Attestation
from tests.factories import CAPACITY, EXPORT, LAUNCHER, NOW, TASK, a_claim, a_claimed_order, an_order
from tests.histories import FENCED, LIMITS, MAKE, OUTPUT, histories_to
from tools.lifecycle_page import render

SPECS: list[AnySpec] = [CAPACITY, TASK]


NOT_CAPACITY = frozenset({EventKind.RUN_TIMEOUT, EventKind.DISCARD})
"""What never happens to a capacity order."""


def in_state(state: State, kind: EventKind | None = None) -> Order:
    """An order in `state`, about which everything that the rule of `kind` may ask for holds."""
    order = a_claimed_order(TASK if kind in NOT_CAPACITY else CAPACITY)
    order = replace(order, state=state, cancel_requested_at=NOW, limits=LIMITS)
    order = replace(order, entered={**order.entered, State.RUNNING: NOW, state: NOW})
    if state in HELD:
        return order
    if kind is EventKind.DISCARD:
        return replace(order, lease=None, due_at=NOW)
    return replace(order, lease=None, due_at=None if state in FINAL else NOW)


def in_time(kind: EventKind) -> datetime:
    """A moment at which the event is due."""
    waits = {
        EventKind.LAPSE: LEASE + LAPSE_MARGIN,
        EventKind.EXPIRE: DEFAULT_LIMITS.queue,
        EventKind.BOOT_TIMEOUT: timedelta(seconds=200),
        EventKind.RUN_TIMEOUT: timedelta(seconds=300),
        EventKind.TTL_PASSED: timedelta(seconds=300),
        EventKind.DISCARD: timedelta(seconds=1000),
    }
    return NOW + waits.get(kind, timedelta())


@pytest.mark.parametrize(("state", "kind"), list(product(State, EventKind)))
def test_every_event_in_every_state_follows_the_table(state: State, kind: EventKind) -> None:
    order, now = in_state(state, kind), in_time(kind)
    event = MAKE[kind]("request-1", order, now)
    target = RULES.get((state, kind))
    if target is None:
        with pytest.raises((WrongState, LeaseLost)):
            advance(order, event, now)
    else:
        order = replace(order, cancel_requested_at=None) if target is State.QUEUED else order
        assert advance(order, event, now).state is target


@pytest.mark.parametrize("state", sorted(FINAL))
def test_no_rule_leads_out_of_a_final_state(state: State) -> None:
    assert {target for (held, _), target in RULES.items() if held is state} == {state}


@pytest.mark.parametrize(("state", "kind"), list(product(sorted(HELD), FENCED)))
@pytest.mark.parametrize("epoch", [0, 2])
def test_an_event_of_another_epoch_is_refused(state: State, kind: EventKind, epoch: int) -> None:
    order, now = in_state(state, kind), in_time(kind)
    event = replace(MAKE[kind]("request-1", order, now), epoch=epoch)  # type: ignore[arg-type] # every one here is fenced
    with pytest.raises(LeaseLost):
        advance(order, event, now)


@pytest.mark.parametrize(
    "kind",
    [EventKind.RENEW, EventKind.NOTE, EventKind.PROVISION, EventKind.EXIT, EventKind.RETURN, EventKind.STOP],
)
def test_another_launcher_cannot_use_the_epoch(kind: EventKind) -> None:
    order = replace(in_state(State.RUNNING), lease=Lease("rack/other", NOW + LEASE))
    with pytest.raises(LeaseLost):
        advance(order, MAKE[kind]("request-1", order, NOW), NOW)


@pytest.mark.parametrize("kind", [EventKind.FAIL, EventKind.RETRY])
def test_another_launcher_cannot_report_a_failure_of_the_epoch(kind: EventKind) -> None:
    order = replace(in_state(State.RUNNING), lease=Lease("rack/other", NOW + LEASE))
    with pytest.raises(LeaseLost):
        advance(order, replace(MAKE[kind]("request-1", order, NOW), launcher=LAUNCHER), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [kind for kind in FENCED if kind is not EventKind.RENEW])
def test_even_a_repeat_is_refused_once_its_epoch_is_over(kind: EventKind) -> None:
    order = replace(in_state(State.PROVISIONING), epoch=2, recent=("request-1",))
    event = replace(MAKE[kind]("request-1", order, NOW), epoch=1)  # type: ignore[arg-type]
    with pytest.raises(LeaseLost):
        advance(order, event, NOW)


@pytest.mark.parametrize("state", sorted(FINAL - {State.EXPIRED}))
def test_the_end_of_a_machine_whose_order_has_ended_changes_nothing(state: State) -> None:
    order = in_state(state)
    assert advance(order, Exit("gone", 1, LAUNCHER, "exit code 0"), NOW) is order
    with pytest.raises(LeaseLost):
        advance(order, Exit("gone", 0, LAUNCHER, "exit code 0"), NOW)


@pytest.mark.parametrize("state", sorted(HELD))
def test_a_machine_that_ends_by_itself_is_a_failed_attempt(state: State) -> None:
    order = replace(in_state(state), cancel_requested_at=None)
    queued = advance(order, Exit("gone", 1, LAUNCHER, "exit code 1"), NOW)
    assert (queued.state, queued.reason, queued.message) == (State.QUEUED, Reason.MACHINE_EXITED, "exit code 1")
    assert (queued.attempt, queued.available_at > NOW) == (1, True)


def test_a_requeued_orders_last_holder_is_refused() -> None:
    order = advance(a_claimed_order(), Lapse("r", 1), in_time(EventKind.LAPSE))
    with pytest.raises(LeaseLost):
        advance(order, Start("late", 1), NOW + LEASE)


@pytest.mark.parametrize(("state", "kind"), list(RULES))
def test_a_repeated_request_changes_nothing(state: State, kind: EventKind) -> None:
    order, now = in_state(state, kind), in_time(kind)
    event = MAKE[kind]("request-1", order, now)
    once = advance(order, event, now)
    if kind in (EventKind.RING, EventKind.RENEW, EventKind.PROGRESS):
        assert advance(once, event, now) == once
    elif kind is EventKind.EXIT and state in FINAL:
        assert once is order
    else:
        assert advance(once, event, now + timedelta(days=2)) is once


def test_a_claim_raises_the_epoch_and_sets_the_lease() -> None:
    order = advance(an_order(), a_claim(), NOW)
    assert (order.epoch, order.attempt, order.lease) == (1, 1, Lease(LAUNCHER, NOW + LEASE))
    assert order.due_at == NOW + LEASE + LAPSE_MARGIN


def test_a_claim_before_its_time_is_refused() -> None:
    with pytest.raises(WrongState, match="cannot be claimed yet"):
        advance(an_order(available_at=NOW + timedelta(seconds=1)), a_claim(), NOW)


def test_a_claim_of_an_order_past_its_queue_ttl_is_refused() -> None:
    with pytest.raises(WrongState):
        advance(an_order(), a_claim(), NOW + DEFAULT_LIMITS.queue)


def test_a_renewed_lease_does_not_lapse() -> None:
    order = a_claimed_order()
    renewed = advance(order, Renew("r", 1, LAUNCHER, NOW + 2 * LEASE), NOW)
    with pytest.raises(WrongState):
        advance(renewed, Lapse("sweep", 1), in_time(EventKind.LAPSE))


def test_a_failed_attempt_waits_longer_each_time_and_the_last_one_ends_the_order() -> None:
    order, now, waits = an_order(), NOW, []
    for attempt in (1, 2, 3):
        now = order.available_at
        order = advance(order, a_claim(now=now), now)
        order = advance(order, Retry(f"r{attempt}", order.epoch, Reason.MACHINE_EXITED, "exit 1"), now)
        waits.append((order.available_at - now).total_seconds())
    assert 10 <= waits[0] <= 12.5
    assert 20 <= waits[1] <= 25
    assert (order.state, order.reason) == (State.FAILED, Reason.RETRIES_EXHAUSTED)
    assert "machine_exited" in (order.message or "")


def test_the_backoff_ends_at_ten_minutes() -> None:
    assert [backoff(n).total_seconds() for n in (1, 2, 7, 40, 4000)] == [10, 20, 600, 600, 600]


def test_orders_that_fail_together_do_not_come_back_together() -> None:
    failed = [advance(a_claimed_order(), Retry("r", 1, Reason.MACHINE_EXITED, "exit 1"), NOW) for _ in range(20)]
    waits = {order.available_at - NOW for order in failed}
    assert len(waits) > 15
    assert max(waits) <= backoff(1, spread=1)


def test_a_returned_order_uses_no_attempt_and_may_be_claimed_at_once() -> None:
    order = advance(a_claimed_order(), Return("r", 1, LAUNCHER, Reason.RETURNED, "down"), NOW)
    assert (order.state, order.attempt, order.epoch, order.available_at) == (State.QUEUED, 0, 1, NOW)


def test_a_lapse_before_a_machine_is_started_uses_no_attempt_and_waits_longer_each_time() -> None:
    """Such lapses come from callers that had hung up. If every launcher dies of an order, its queue TTL ends it."""
    order, now, waits, held = an_order(), NOW, list[timedelta](), timedelta()
    while now < order.expires_at:
        order = advance(order, a_claim(now=now), now)
        lapses = now + LEASE + LAPSE_MARGIN
        held, order = held + (lapses - now), advance(order, Lapse(f"sweep-{order.epoch}", order.epoch), lapses)
        assert (order.state, order.attempt, order.reason) == (State.QUEUED, 0, Reason.LEASE_LAPSED)
        waits.append(order.available_at - lapses)
        now = order.available_at
    assert order.expires_at == NOW + DEFAULT_LIMITS.queue + held
    assert waits[0] <= backoff(1, spread=1) < backoff(3) <= waits[2]
    assert max(waits) <= backoff(99, spread=1)
    assert advance(order, Expire("e"), order.expires_at).state is State.EXPIRED


def test_a_lapse_after_a_machine_was_or_may_have_been_started_uses_an_attempt() -> None:
    begun = advance(a_claimed_order(), Provision("p", 1, LAUNCHER, "vm-1"), NOW)
    without_heartbeats = advance(an_order(CAPACITY), replace(a_claim(), attended=False), NOW)
    for order in (begun, without_heartbeats):
        lapsed = advance(order, Lapse("sweep", 1), in_time(EventKind.LAPSE))
        assert (lapsed.state, lapsed.attempt) == (State.QUEUED, 1)


def test_an_order_that_is_cancelled_between_two_attempts_has_that_for_its_reason() -> None:
    waiting = advance(a_claimed_order(), Retry("gone", 1, Reason.MACHINE_EXITED, "gone"), NOW)

    cancelled = advance(waiting, Cancel("cancel"), NOW)

    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, Reason.CANCELLED)


@pytest.mark.parametrize("kind", [EventKind.LAPSE, EventKind.RETRY, EventKind.EXIT, EventKind.RETURN])
def test_an_order_that_was_cancelled_is_not_queued_again(kind: EventKind) -> None:
    order, now = in_state(State.PROVISIONING), in_time(kind)
    assert advance(order, MAKE[kind]("r", order, now), now).state is State.CANCELLED


@pytest.mark.parametrize("kind", [EventKind.LAPSE, EventKind.RETRY, EventKind.EXIT, EventKind.RETURN])
def test_a_capacity_order_that_ran_and_was_cancelled_is_released_whoever_reports_its_end(kind: EventKind) -> None:
    order, now = in_state(State.RUNNING), in_time(kind)
    released = advance(order, MAKE[kind]("r", order, now), now)
    assert (released.state, released.reason) == (State.SUCCEEDED, Reason.RELEASED)


@pytest.mark.parametrize("kind", [EventKind.STOP, EventKind.RELEASE])
def test_a_launcher_cannot_end_an_order_that_was_not_cancelled(kind: EventKind) -> None:
    order = replace(in_state(State.RUNNING), cancel_requested_at=None)
    with pytest.raises(WrongState):
        advance(order, MAKE[kind]("r", order, NOW), NOW)


def test_only_a_capacity_order_is_released() -> None:
    order = replace(a_claimed_order(), state=State.RUNNING, cancel_requested_at=NOW)
    with pytest.raises(WrongState):
        advance(order, Release("r", 1, LAUNCHER), NOW)


def test_what_is_due_is_a_bell_then_expiry_and_for_a_held_order_its_lapse() -> None:
    waiting, held = an_order(), a_claimed_order()
    assert due_event(waiting, NOW, "r") is None
    assert due_event(waiting, NOW + timedelta(seconds=10), "r") == Ring("r")
    assert due_event(waiting, NOW + DEFAULT_LIMITS.queue, "r") == Expire("r")
    assert due_event(held, NOW + LEASE, "r") is None  # its launcher may still be stopping what runs
    assert due_event(held, NOW + LEASE + LAPSE_MARGIN, "r") == Lapse("r", 1)


def test_a_rung_order_is_due_again_a_minute_later() -> None:
    order = advance(an_order(), Ring("r"), NOW)
    assert order.due_at == NOW + timedelta(seconds=60)


def test_the_bells_of_an_unclaimed_order_become_rare() -> None:
    order, now, bells = an_order(), NOW, 0
    while now < order.expires_at:
        order = advance(order, Ring(f"bell-{bells}"), now)
        now, bells = order.due_at or now, bells + 1
    assert 40 < bells < 60


def test_an_order_that_is_always_handed_back_expires_when_it_would_have() -> None:
    order = an_order()
    for turn in range(5):
        now = NOW + timedelta(hours=turn)
        order = advance(order, a_claim(now=now), now)
        order = advance(order, Return(f"back-{turn}", order.epoch, LAUNCHER, Reason.RETURNED, "down"), now)
    assert order.expires_at == NOW + DEFAULT_LIMITS.queue


def test_an_order_that_is_returned_after_a_long_run_has_a_new_queue_ttl() -> None:
    days = NOW + timedelta(days=3)
    running = replace(a_claimed_order(), state=State.RUNNING, entered={State.CLAIMED: NOW, State.RUNNING: NOW})
    back = advance(running, Return("back", running.epoch, LAUNCHER, Reason.RETURNED, "down"), days)
    assert (back.state, back.available_at, back.expires_at) == (State.QUEUED, days, days + DEFAULT_LIMITS.queue)
    assert advance(back, a_claim(now=days), days).state is State.CLAIMED


def test_a_heartbeat_that_the_next_one_overtook_does_not_shorten_the_lease() -> None:
    order, late = a_claimed_order(), NOW + timedelta(seconds=300)
    renewed = advance(order, Renew("r", order.epoch, LAUNCHER, late), NOW)
    overtaken = advance(renewed, Renew("r", order.epoch, LAUNCHER, late - timedelta(seconds=10)), NOW)
    assert overtaken.lease is not None
    assert overtaken.lease.until == late


def test_an_order_that_no_host_has_room_for_uses_no_attempt_and_waits_longer_each_time() -> None:
    order, now, waits = an_order(), NOW, []
    for turn in range(5):
        order = advance(order, a_claim(now=now), now)
        order = advance(order, Return(f"r{turn}", order.epoch, LAUNCHER, Reason.NO_CAPACITY, "no memory"), now)
        waits.append((order.available_at - now).total_seconds())
        now = order.available_at
    assert (order.attempt, order.state, order.expires_at) == (0, State.QUEUED, NOW + DEFAULT_LIMITS.queue)
    assert [round(wait // 10) for wait in waits] == sorted({round(wait // 10) for wait in waits})
    assert waits[-1] >= 160


def test_a_worker_that_never_reports_is_tried_again_and_then_fails_by_the_limit_that_it_broke() -> None:
    order, now = an_order(limits=LIMITS), NOW
    for attempt in (1, 2, 3):
        now = order.available_at
        order = advance(order, a_claim(now=now, lease=timedelta(hours=1)), now)
        assert due_event(order, now + timedelta(seconds=199), "r") is None
        now += timedelta(seconds=200)
        event = due_event(order, now, f"sweep-{attempt}")
        assert isinstance(event, BootTimeout)
        order = advance(order, event, now)
    assert (order.state, order.reason) == (State.FAILED, Reason.BOOT_TIMEOUT)


@pytest.mark.parametrize(
    ("spec", "state", "reason"),
    [(TASK, State.FAILED, Reason.RUN_TIMEOUT), (CAPACITY, State.SUCCEEDED, Reason.TTL)],
)
def test_a_worker_that_runs_too_long_fails_and_a_capacity_order_has_done_its_work(
    spec: AnySpec, state: State, reason: Reason
) -> None:
    order = advance(an_order(spec, limits=LIMITS), a_claim(lease=timedelta(hours=1)), NOW)
    order = advance(order, Start("s", 1), NOW + timedelta(seconds=50))
    assert due_event(order, NOW + timedelta(seconds=349), "r") is None
    ends = NOW + timedelta(seconds=350)
    assert order.due_at == ends
    event = due_event(order, ends, "r")
    assert event is not None
    ended = advance(order, event, ends)
    assert (ended.state, ended.reason) == (state, reason)


def test_a_capacity_order_without_a_ttl_runs_until_it_is_stopped() -> None:
    order = advance(advance(an_order(CAPACITY), a_claim(lease=timedelta(days=99)), NOW), Start("s", 1), NOW)
    assert due_event(order, NOW + timedelta(days=98), "r") is None


def test_an_order_for_later_is_neither_rung_for_nor_claimed_before_and_waits_as_long_from_then() -> None:
    later = NOW + timedelta(hours=2)
    order = place("later", "acme", TASK, NOW, LIMITS, not_before=later)
    assert (order.due_at, order.expires_at) == (later, later + LIMITS.queue)
    with pytest.raises(WrongState):
        advance(order, a_claim(), NOW)
    assert due_event(order, later, "r") == Ring("r")
    assert advance(order, a_claim(now=later), later).state is State.CLAIMED


def test_the_output_of_an_ended_order_is_discarded_once_after_its_retention() -> None:
    order = advance(a_claimed_order(EXPORT), Succeed("s", 1, OUTPUT), NOW)
    kept = NOW + POLICIES[order.kind].limits.keep
    assert (order.due_at, kept) == (kept, NOW + timedelta(hours=24))
    event = due_event(order, kept, "sweep")
    assert event == Discard("sweep")
    discarded = advance(order, event, kept)
    assert (discarded.state, discarded.output, discarded.discarded_at) == (State.SUCCEEDED, OUTPUT, kept)
    assert discarded.due_at is None
    with pytest.raises(WrongState):
        advance(discarded, Discard("again"), kept + timedelta(days=1))


def test_an_upload_that_comes_after_a_short_retention_is_discarded_too() -> None:
    briefly = OrderLimits(run_seconds=300, keep_seconds=60)
    order = advance(an_order(EXPORT, limits=briefly), a_claim(), NOW)
    ended = advance(order, Fail("f", 1, Reason.PROGRAM_FAILED, "no"), NOW)
    once = advance(ended, Discard("1"), NOW + timedelta(seconds=60))
    assert once.due_at == NOW + UPLOAD_VALID
    twice = advance(once, Discard("2"), NOW + UPLOAD_VALID)
    assert (twice.due_at, twice.discarded_at) == (None, once.discarded_at)


def test_an_order_that_no_launcher_could_run_says_what_the_last_one_lacked() -> None:
    held = advance(an_order(), a_claim(), NOW)
    waiting = advance(held, Return("r", 1, LAUNCHER, Reason.NO_CAPACITY, "No free TDX key."), NOW)
    expired = advance(waiting, Expire("e"), waiting.expires_at)
    assert expired.message == "No launcher ran it in time. The last that tried: no_capacity: No free TDX key."


def test_nothing_is_discarded_of_an_order_that_no_worker_had() -> None:
    assert advance(an_order(), Cancel("c"), NOW).due_at is None
    assert (
        advance(replace(in_state(State.RUNNING), lease=Lease(LAUNCHER, NOW)), Stop("s", 1, LAUNCHER), NOW).due_at
        is None
    )


def test_lives_drawn_from_the_table_keep_every_promise_and_use_every_row() -> None:
    fired: Counter[tuple[State, EventKind]] = Counter()

    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def live(row: tuple[State, EventKind], data: st.DataObject) -> None:
        order, now = an_order(data.draw(st.sampled_from(SPECS)), limits=LIMITS), NOW
        for step, kind in enumerate(data.draw(histories_to(row))):
            _intrude(order, data, step)
            now = max(now, order.available_at) + (in_time(kind) - NOW)
            try:
                after = advance(order, MAKE[kind](f"step-{step}", order, now), now)
            except (WrongState, LeaseLost):
                continue
            fired[order.state, kind] += 1
            _check(order, after)
            order = after

    for row in RULES:
        live(row)
    assert set(RULES) == set(fired)


def _intrude(order: Order, data: st.DataObject, step: int) -> None:
    """Send a fenced event of an old epoch: it must change nothing."""
    kind = data.draw(st.sampled_from(FENCED))
    stale = replace(MAKE[kind](f"intruder-{step}", order, NOW), epoch=order.epoch - 1)  # type: ignore[arg-type] # as above
    with pytest.raises(LeaseLost):
        advance(order, stale, NOW)


def _check(before: Order, after: Order) -> None:
    assert before.state not in FINAL or after.state is before.state
    assert after.epoch - before.epoch in (0, 1)
    assert (after.lease is not None) == (after.state in HELD)
    assert after.due_at is not None or after.state in FINAL
    assert after.attempt <= after.max_attempts
    assert after.reason is not None or after.state not in FINAL or after.state is State.SUCCEEDED


def test_a_note_extends_the_lease_and_keeps_other_fields() -> None:
    order = advance(a_claimed_order(CAPACITY), Note("n1", 1, LAUNCHER, NOW + 2 * LEASE, "vm-1", "slow"), NOW)
    noted = advance(order, Note("n2", 1, LAUNCHER, NOW + LEASE, None, ""), NOW)
    assert noted.lease == Lease(LAUNCHER, NOW + 2 * LEASE)
    assert (noted.state, noted.vm, noted.message) == (State.CLAIMED, "vm-1", None)


def test_if_attestation_is_required_only_a_registered_agent_makes_an_order_run() -> None:
    spec = CAPACITY.model_copy(update={"attestation": Attestation.REQUIRED})
    order = a_claimed_order(spec)
    with pytest.raises(WrongState, match="demands attestation"):
        advance(order, Start("s", 1), NOW)
    assert advance(order, Register("r", 1, "agent-1", "vm-1"), NOW).state is State.RUNNING


def test_one_agent_registers_for_an_epoch_and_no_second() -> None:
    order = advance(a_claimed_order(CAPACITY), Register("r1", 1, "agent-1", "vm-1"), NOW)
    assert (order.agent, order.vm) == ("agent-1", "vm-1")
    with pytest.raises(WrongState, match="Another agent"):
        advance(order, Register("r2", 1, "agent-2", "vm-2"), NOW)


def test_the_lifecycle_page_matches_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "lifecycle.md"
    assert page.read_text(encoding="utf-8") == render(), "stale: run `make docs`"
