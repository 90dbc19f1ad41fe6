"""Orders whose launcher sends heartbeats, and orders whose launcher sends none."""

from datetime import datetime, timedelta

import pytest

from functions.domain.events import (
    Cancel,
    Claim,
    Lapse,
    Renew,
    Start,
)
from functions.domain.order import LAPSE_MARGIN
from functions.domain.refusals import WrongState
from functions.domain.rules import advance
from shared.domain.order import LEASE, State
from shared.domain.spec import AnySpec
from tests.factories import CAPACITY, LAUNCHER, NOW, TASK, an_order


def without_heartbeats(lease_until: datetime = NOW + LEASE) -> Claim:
    """A claim of a launcher that sends no heartbeats."""
    return Claim("claim", LAUNCHER, lease_until, attended=False)


def test_an_order_that_runs_and_is_not_attended_never_lapses() -> None:
    order = advance(advance(an_order(CAPACITY), without_heartbeats(), NOW), Start("s", 1, "vm-1"), NOW)
    assert (order.vm, order.due_at) == ("vm-1", None)
    with pytest.raises(WrongState, match="does not expire"):
        advance(order, Lapse("sweep", 1), NOW + timedelta(days=9))


def test_an_order_that_is_not_attended_lapses_until_it_runs_and_remembers_who_held_it() -> None:
    held = advance(an_order(CAPACITY), without_heartbeats(), NOW)
    lapsed = advance(held, Lapse("sweep", 1), NOW + LEASE + LAPSE_MARGIN)
    assert (held.due_at, held.claimed_by) == (NOW + LEASE + LAPSE_MARGIN, LAUNCHER)
    assert (lapsed.state, lapsed.claimed_by, lapsed.former) == (State.QUEUED, None, (LAUNCHER,))


def test_a_heartbeat_makes_an_order_attended_again() -> None:
    order = advance(advance(an_order(CAPACITY), without_heartbeats(), NOW), Start("s", 1), NOW)
    renewed = advance(order, Renew("r", 1, LAUNCHER, NOW + LEASE), NOW)
    assert renewed.due_at == NOW + LEASE + LAPSE_MARGIN


@pytest.mark.parametrize(("spec", "state"), [(CAPACITY, State.SUCCEEDED), (TASK, State.CANCELLED)])
def test_a_cancellation_ends_an_order_that_runs_and_is_not_attended_at_once(spec: AnySpec, state: State) -> None:
    order = advance(advance(an_order(spec), without_heartbeats(), NOW), Start("s", 1), NOW)
    assert advance(order, Cancel("c"), NOW).state is state


def test_a_launcher_that_sends_no_heartbeats_has_half_an_hour_to_boot() -> None:
    order = advance(an_order(CAPACITY), without_heartbeats(NOW + timedelta(hours=2)), NOW)
    assert order.due_at == NOW + timedelta(minutes=30)
