"""A chaos run's schedule: drawn from the seed alone, and with something of every kind in it."""

from dataclasses import replace

from shared.domain.spec import CapacitySpec, ExportSpec, TaskSpec
from tests.chaos import schedule
from tests.chaos.schedule import Action, Cancel, FreezeLauncher, KillLauncher, Place, Terms, plan

TERMS = Terms("chaos-test", seed=7, seconds=60, orders=80, launchers=4, lease=8)


def test_the_same_seed_makes_the_same_schedule_and_another_another() -> None:
    assert plan(TERMS) == plan(TERMS)
    assert plan(replace(TERMS, seed=8)) != plan(TERMS)


def test_every_order_is_placed_once_with_a_key_and_a_text_of_its_own() -> None:
    wanted = [timed.action.wanted for timed in plan(TERMS) if isinstance(timed.action, Place)]

    assert len({one.key for one in wanted}) == len({one.text for one in wanted}) == len(wanted) == 80
    assert {type(one.spec) for one in wanted} == {TaskSpec, ExportSpec, CapacitySpec}


def test_capacity_orders_that_are_not_kept_are_cancelled() -> None:
    actions = [timed.action for timed in plan(TERMS)]
    cancelled = {action.wanted.number for action in actions if isinstance(action, Cancel)}
    capacity = [
        action.wanted
        for action in actions
        if isinstance(action, Place) and isinstance(action.wanted.spec, CapacitySpec)
    ]

    assert {one.number for one in capacity if not one.keep} <= cancelled
    assert not {one.number for one in capacity if one.keep} & cancelled
    assert sum(one.keep for one in capacity) == len(schedule.KEPT)


def test_every_kind_of_blow_falls_within_the_storm_whatever_the_seed() -> None:
    for seed in range(20):
        timed = plan(replace(TERMS, seed=seed))
        assert {type(one.action) for one in timed} == set(Action.__args__)
        assert all(0 <= one.at <= TERMS.seconds for one in timed)
        assert [one.at for one in timed] == sorted(one.at for one in timed)


def test_launchers_are_frozen_within_their_lease_and_past_it() -> None:
    actions = [timed.action for timed in plan(replace(TERMS, seconds=600))]
    freezes = [action for action in actions if isinstance(action, FreezeLauncher)]

    assert {freeze.seconds > TERMS.lease for freeze in freezes} == {True, False}
    assert {freeze.launcher for freeze in freezes} == set(range(TERMS.launchers))
    assert {action.launcher for action in actions if isinstance(action, KillLauncher)} == set(range(TERMS.launchers))
