"""A chaos run's schedule: drawn from the seed alone, and with something of every kind in it."""

from collections import Counter
from dataclasses import replace

import pytest

from functions.domain.order import LAPSE_MARGIN
from shared.domain.spec import CapacitySpec, ExportSpec, TaskSpec
from shared.wire.bell import MalformedBell, from_attributes
from tests.chaos import schedule
from tests.chaos.schedule import (
    Action,
    CancelOrder,
    Download,
    FreezeLauncher,
    KillLauncher,
    PlaceOrder,
    Purge,
    Requeue,
    Terms,
    plan,
)

TERMS = Terms("chaos-test", seed=7, seconds=60, orders=80, launchers=4, lease=8)


def test_the_same_seed_makes_the_same_schedule_and_another_seed_another() -> None:
    assert plan(TERMS) == plan(TERMS)
    assert plan(replace(TERMS, seed=8)) != plan(TERMS)


def test_every_order_is_placed_once_with_a_key_and_a_text_of_its_own() -> None:
    planned = [timed.action.planned for timed in plan(TERMS) if isinstance(timed.action, PlaceOrder)]

    assert len({one.key for one in planned}) == len({one.text for one in planned}) == len(planned) == 80
    assert {type(one.spec) for one in planned} == {TaskSpec, ExportSpec, CapacitySpec}


def test_capacity_orders_that_are_not_kept_are_cancelled() -> None:
    actions = [timed.action for timed in plan(TERMS)]
    cancelled = {action.planned.number for action in actions if isinstance(action, CancelOrder)}
    capacity = [
        action.planned
        for action in actions
        if isinstance(action, PlaceOrder) and isinstance(action.planned.spec, CapacitySpec)
    ]

    assert {one.number for one in capacity if not one.keep} <= cancelled
    assert not {one.number for one in capacity if one.keep} & cancelled
    assert sum(one.keep for one in capacity) == len(schedule.KEPT_SHARES)


def test_every_kind_of_action_happens_within_the_storm_whatever_the_seed() -> None:
    for seed in range(20):
        timed = plan(replace(TERMS, seed=seed))
        assert {type(one.action) for one in timed} == set(Action.__args__)
        assert all(0 <= one.at <= TERMS.seconds for one in timed)
        assert [one.at for one in timed] == sorted(one.at for one in timed)


def test_launchers_are_frozen_within_their_lease_and_past_it_and_then_with_and_without_their_machines() -> None:
    actions = [timed.action for timed in plan(replace(TERMS, seconds=900))]
    freezes = [action for action in actions if isinstance(action, FreezeLauncher)]

    assert {(freeze.seconds > TERMS.lease, freeze.machines) for freeze in freezes} == {
        (False, False),
        (True, False),
        (True, True),
    }


def test_every_storm_has_what_it_must_prove_whatever_the_seed_and_waits_for_what_that_needs() -> None:
    for seed in range(20):
        sure = [timed.action for timed in plan(replace(TERMS, seed=seed)) if getattr(timed.action, "sure", False)]
        freezes = [action for action in sure if isinstance(action, FreezeLauncher)]

        assert Counter(map(type, sure)) == {KillLauncher: 2, FreezeLauncher: 1, Requeue: 2, Purge: 1, Download: 1}
        assert [freeze.machines for freeze in freezes] == [True]
        assert freezes[0].seconds > TERMS.lease + LAPSE_MARGIN.total_seconds()


def test_every_storm_has_tasks_that_fail_and_tasks_that_leave_a_child_whatever_the_seed() -> None:
    for seed in range(20):
        placed = [
            timed.action.planned for timed in plan(replace(TERMS, seed=seed)) if isinstance(timed.action, PlaceOrder)
        ]
        commands = {one.number: one.spec.command for one in placed if isinstance(one.spec, TaskSpec)}

        for share, script, seconds in schedule.GUARANTEED:
            command = commands[int(TERMS.orders * share)]
            assert script in command
            assert command[-1] == seconds


def test_some_tasks_last_long_and_some_leave_a_child_behind() -> None:
    commands = [
        timed.action.planned.spec.command
        for timed in plan(replace(TERMS, orders=1000))
        if isinstance(timed.action, PlaceOrder) and isinstance(timed.action.planned.spec, TaskSpec)
    ]
    long = [command for command in commands if float(command[-1]) >= schedule.MIN_LONG_SECONDS]
    leaving = [command for command in commands if schedule.DETACHES in command]

    assert 0.1 < len(long) / len(commands) < 0.2
    assert 0.02 < len(leaving) / len(commands) < 0.1


def test_malformed_bells_are_malformed() -> None:
    for attributes in schedule.MALFORMED_BELLS:
        with pytest.raises(MalformedBell):
            from_attributes(attributes)
