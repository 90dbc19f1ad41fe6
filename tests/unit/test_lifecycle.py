"""The lifecycle's promises, drawn from its own table: every legal row, and at each step an intruder's event."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.events import (
    AnyEvent,
    Cancel,
    Claim,
    EventKind,
    Expire,
    Fail,
    Lapse,
    Provision,
    Release,
    Renew,
    Retry,
    Return,
    Ring,
    Start,
    Stop,
    Succeed,
)
from shared.domain.lifecycle import RULES, advance, backoff, due_event
from shared.domain.order import FINAL, HELD, LEASE, QUEUE_TTL, Lease, Order, Output, Reason, State
from shared.domain.refusals import LeaseLost, WrongState
from shared.lifecycle_document import render
from tests.factories import CAPACITY, LAUNCHER, NOW, a_claim, a_claimed_order, an_order

OUTPUT = Output("outputs/x/1/a.xml", "a.xml", "application/xml", 3, "0" * 64)

MAKE: dict[EventKind, Callable[[str, Order, datetime], AnyEvent]] = {
    EventKind.RING: lambda id_, order, now: Ring(id_),
    EventKind.CLAIM: lambda id_, order, now: Claim(id_, LAUNCHER, now + LEASE),
    EventKind.RENEW: lambda id_, order, now: Renew(id_, order.epoch, LAUNCHER, now + LEASE),
    EventKind.PROVISION: lambda id_, order, now: Provision(id_, order.epoch, LAUNCHER, "vm-1"),
    EventKind.START: lambda id_, order, now: Start(id_, order.epoch),
    EventKind.SUCCEED: lambda id_, order, now: Succeed(id_, order.epoch, OUTPUT),
    EventKind.FAIL: lambda id_, order, now: Fail(id_, order.epoch, Reason.PROGRAM_FAILED, "no"),
    EventKind.RETRY: lambda id_, order, now: Retry(id_, order.epoch, Reason.MACHINE_EXITED, "gone"),
    EventKind.RETURN: lambda id_, order, now: Return(id_, order.epoch, LAUNCHER, "no room"),
    EventKind.LAPSE: lambda id_, order, now: Lapse(id_, order.epoch),
    EventKind.CANCEL: lambda id_, order, now: Cancel(id_),
    EventKind.STOP: lambda id_, order, now: Stop(id_, order.epoch, LAUNCHER),
    EventKind.RELEASE: lambda id_, order, now: Release(id_, order.epoch, LAUNCHER),
    EventKind.EXPIRE: lambda id_, order, now: Expire(id_),
}
FENCED = [kind for kind in EventKind if hasattr(MAKE[kind]("x", an_order(), NOW), "epoch")]


CLAIM, CANCEL = EventKind.CLAIM, EventKind.CANCEL
WAY_TO = {
    State.QUEUED: [],
    State.CLAIMED: [CLAIM],
    State.PROVISIONING: [CLAIM, EventKind.PROVISION],
    State.RUNNING: [CLAIM, EventKind.PROVISION, EventKind.START],
}
LOST_ROUNDS = st.lists(st.sampled_from([EventKind.RETRY, EventKind.LAPSE, EventKind.RETURN]), max_size=2)


def _life(lost: list[EventKind], row: tuple[State, EventKind], wished: bool, after: list[EventKind]) -> list[EventKind]:
    """Some lost attempts, then the way to a row of the table and the row itself, then anything at all."""
    rounds = [kind for last in lost for kind in (CLAIM, last)]
    return [*rounds, *WAY_TO[row[0]], *([CANCEL] if wished else []), row[1], *after]


LIVES = st.builds(
    _life, LOST_ROUNDS, st.sampled_from(list(RULES)), st.booleans(), st.lists(st.sampled_from(EventKind), max_size=6)
)


def in_state(state: State) -> Order:
    """An order in `state`, about which everything that a rule may ask for holds."""
    order = replace(a_claimed_order(CAPACITY), state=state, cancel_requested_at=NOW)
    if state in HELD:
        return order
    return replace(order, lease=None, due_at=None if state in FINAL else NOW)


def in_time(kind: EventKind) -> datetime:
    """A moment at which the event is due."""
    return NOW + {EventKind.LAPSE: LEASE, EventKind.EXPIRE: QUEUE_TTL}.get(kind, timedelta())


@pytest.mark.parametrize(("state", "kind"), list(product(State, EventKind)))
def test_every_event_in_every_state_does_what_the_table_says(state: State, kind: EventKind) -> None:
    order, now = in_state(state), in_time(kind)
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
    assert not [kind for held, kind in RULES if held is state]


@pytest.mark.parametrize(("state", "kind"), list(product(sorted(HELD), FENCED)))
@pytest.mark.parametrize("epoch", [0, 2])
def test_an_event_of_another_epoch_is_refused(state: State, kind: EventKind, epoch: int) -> None:
    order, now = in_state(state), in_time(kind)
    event = replace(MAKE[kind]("request-1", order, now), epoch=epoch)  # type: ignore[arg-type] # every one here is fenced
    with pytest.raises(LeaseLost):
        advance(order, event, now)


@pytest.mark.parametrize("kind", [EventKind.RENEW, EventKind.PROVISION, EventKind.RETURN, EventKind.STOP])
def test_another_launcher_cannot_use_the_epoch(kind: EventKind) -> None:
    order = replace(in_state(State.RUNNING), lease=Lease("rack/other", NOW + LEASE))
    with pytest.raises(LeaseLost):
        advance(order, MAKE[kind]("request-1", order, NOW), NOW)


def test_a_requeued_orders_last_holder_is_refused() -> None:
    order = advance(a_claimed_order(), Lapse("r", 1), NOW + LEASE)
    with pytest.raises(LeaseLost):
        advance(order, Start("late", 1), NOW + LEASE)


@pytest.mark.parametrize(("state", "kind"), list(RULES))
def test_a_repeated_request_changes_nothing(state: State, kind: EventKind) -> None:
    order, now = in_state(state), in_time(kind)
    event = MAKE[kind]("request-1", order, now)
    once = advance(order, event, now)
    if kind in (EventKind.RING, EventKind.RENEW):
        assert advance(once, event, now) == once
    else:
        assert advance(once, event, now + timedelta(days=2)) is once


def test_a_claim_raises_the_epoch_and_sets_the_lease() -> None:
    order = advance(an_order(), a_claim(), NOW)
    assert (order.epoch, order.attempt, order.lease) == (1, 1, Lease(LAUNCHER, NOW + LEASE))
    assert order.due_at == NOW + LEASE


def test_a_claim_before_its_time_is_refused() -> None:
    with pytest.raises(WrongState, match="cannot be claimed yet"):
        advance(an_order(available_at=NOW + timedelta(seconds=1)), a_claim(), NOW)


def test_a_claim_of_an_order_past_its_queue_ttl_is_refused() -> None:
    with pytest.raises(WrongState):
        advance(an_order(), a_claim(), NOW + QUEUE_TTL)


def test_a_renewed_lease_does_not_lapse() -> None:
    order = a_claimed_order()
    renewed = advance(order, Renew("r", 1, LAUNCHER, NOW + 2 * LEASE), NOW)
    with pytest.raises(WrongState):
        advance(renewed, Lapse("sweep", 1), NOW + LEASE)


def test_a_failed_attempt_waits_longer_each_time_and_the_last_one_ends_the_order() -> None:
    order, now, waits = an_order(), NOW, []
    for attempt in (1, 2, 3):
        now = order.available_at
        order = advance(order, a_claim(now=now), now)
        order = advance(order, Retry(f"r{attempt}", order.epoch, Reason.MACHINE_EXITED, "exit 1"), now)
        waits.append((order.available_at - now).total_seconds())
    assert waits[:2] == [10, 20]
    assert (order.state, order.reason) == (State.FAILED, Reason.RETRIES_EXHAUSTED)
    assert "machine_exited" in (order.message or "")


def test_the_backoff_ends_at_ten_minutes() -> None:
    assert [backoff(n).total_seconds() for n in (1, 2, 7, 40)] == [10, 20, 600, 600]


def test_an_order_handed_back_burns_no_attempt_and_may_be_claimed_at_once() -> None:
    order = advance(a_claimed_order(), Return("r", 1, LAUNCHER, "no room"), NOW)
    assert (order.state, order.attempt, order.epoch, order.available_at) == (State.QUEUED, 0, 1, NOW)


@pytest.mark.parametrize("kind", [EventKind.LAPSE, EventKind.RETRY, EventKind.RETURN])
def test_an_order_wished_gone_is_not_queued_again(kind: EventKind) -> None:
    order, now = in_state(State.RUNNING), in_time(kind)
    assert advance(order, MAKE[kind]("r", order, now), now).state is State.CANCELLED


@pytest.mark.parametrize("kind", [EventKind.STOP, EventKind.RELEASE])
def test_a_launcher_cannot_end_an_order_that_nobody_wished_gone(kind: EventKind) -> None:
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
    assert due_event(waiting, NOW + QUEUE_TTL, "r") == Expire("r")
    assert due_event(held, NOW + LEASE - timedelta(seconds=1), "r") is None
    assert due_event(held, NOW + LEASE, "r") == Lapse("r", 1)


def test_a_rung_order_is_due_again_a_minute_later() -> None:
    order = advance(an_order(), Ring("r"), NOW)
    assert order.due_at == NOW + timedelta(seconds=60)


def test_the_bells_of_an_order_that_nobody_takes_grow_rare() -> None:
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
        order = advance(order, Return(f"back-{turn}", order.epoch, LAUNCHER, "no room"), now)
    assert order.expires_at == NOW + QUEUE_TTL


def test_lives_drawn_from_the_table_keep_every_promise_and_use_every_row() -> None:
    fired: Counter[tuple[State, EventKind]] = Counter()

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def live(data: st.DataObject) -> None:
        order, now = an_order(CAPACITY), NOW
        for step, kind in enumerate(data.draw(LIVES)):
            _intrude(order, data, step)
            now = max(now, order.available_at) + (in_time(kind) - NOW)
            try:
                after = advance(order, MAKE[kind](f"step-{step}", order, now), now)
            except (WrongState, LeaseLost):
                continue
            fired[order.state, kind] += 1
            _check(order, after)
            order = after

    live()
    assert set(RULES) == set(fired)


def _intrude(order: Order, data: st.DataObject, step: int) -> None:
    """Send a fenced event of an old epoch: it must change nothing."""
    kind = data.draw(st.sampled_from(FENCED))
    stale = replace(MAKE[kind](f"intruder-{step}", order, NOW), epoch=order.epoch - 1)  # type: ignore[arg-type] # as above
    with pytest.raises(LeaseLost):
        advance(order, stale, NOW)


def _check(before: Order, after: Order) -> None:
    assert before.state not in FINAL
    assert after.epoch - before.epoch in (0, 1)
    assert (after.lease is not None) == (after.state in HELD)
    assert (after.due_at is None) == (after.state in FINAL)
    assert after.attempt <= after.max_attempts
    assert after.reason is not None or after.state not in FINAL or after.state is State.SUCCEEDED


def test_the_lifecycle_page_is_what_the_table_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "lifecycle.md"
    assert page.read_text(encoding="utf-8") == render(), "stale: run `make docs`"
