"""The chaos run measures for how long each orphan exists: until it is gone, or belongs to an order."""

from functions.domain.order import LAPSE_MARGIN
from shared.domain.order import State
from tests.chaos.observations import Process
from tests.chaos.orphans import Ages, bound, orphans
from tests.factories import an_order

PROCESS = Process(4711, "vm-1", True, "python -m worker")


def test_an_orphans_age_is_the_time_between_the_looks_that_saw_it() -> None:
    ages = Ages()
    ages.observe(10, ["one"])
    ages.observe(12, ["one", "other"])
    ages.observe(15, ["other"])
    ages.observe(16, [])

    assert ages.longest == {"one": 2, "other": 3}


def test_an_orphan_that_belonged_to_an_order_in_between_is_timed_again() -> None:
    ages = Ages()
    for now, names in ((10, ["one"]), (12, []), (20, ["one"]), (21, ["one"])):
        ages.observe(now, names)

    assert ages.longest == {"one": 1}


def test_only_machines_without_a_held_order_are_orphans() -> None:
    held = an_order(state=State.PROVISIONING, epoch=2, vm="vm-1")
    unstarted = an_order(state=State.CLAIMED, epoch=1, vm=None)
    ended = an_order(state=State.SUCCEEDED, epoch=1, vm="vm-2")
    unknown = Process(4712, None, False, "sleep")
    gone = Process(4713, "vm-2", True, "python -m worker")
    directories = [f"{held.id}-2", f"{held.id}-1", f"{unstarted.id}-1", f"{ended.id}-1"]

    found = orphans([held, unstarted, ended], [PROCESS, unknown, gone], directories)

    assert found == [
        "process 4712 of None: sleep",
        "process 4713 of vm-2: python -m worker",
        f"the directory of a machine, {held.id}-1",
        f"the directory of a machine, {ended.id}-1",
    ]


def test_the_bound_is_longer_than_a_lease_takes_to_lapse() -> None:
    assert bound(10) > 10 + LAPSE_MARGIN.total_seconds()
