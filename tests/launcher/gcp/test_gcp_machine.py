"""A running instance: watched, stopped and deleted."""

import threading

import pytest

from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.provider import GcpProvider
from tests.compute import Fake, NoGuests
from tests.launcher.gcp.instances import DEADLINE, OTHER_ZONE, MakeVm, await_calls, ends_within


def test_a_machine_that_is_deleted_elsewhere_has_ended(
    provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    machine = provider.start(make_vm())
    assert not ends_within(machine, 0)
    GcpProvider(options).delete_strays(tuple, over)
    assert ends_within(machine, DEADLINE)
    machine.reap()


def test_a_machine_whose_guest_powers_off_has_ended_and_is_deleted(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, guests: NoGuests
) -> None:
    machine = provider.start(make_vm())
    guests.off.add(machine.name)
    assert ends_within(machine, DEADLINE)
    assert fake.instances()[0]["status"] == "TERMINATED"
    assert machine.reap() is None
    fake.await_gone()


def test_the_cost_backstop_ends_a_machine(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm())
    fake.forward(30 * 24 * 3600)
    assert ends_within(machine, DEADLINE)
    machine.reap()


def test_a_stopped_machine_is_gone(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    fake.behave(stage_seconds=0.2)
    machine = provider.start(make_vm())
    machine.stop(lambda: DEADLINE)
    assert not fake.instances()
    machine.reap()
    assert fake.calls()["delete"] == 1


def test_a_stop_without_patience_asks_for_the_end_and_does_not_wait(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    machine = provider.start(make_vm())
    fake.behave(stage_seconds=3600)
    machine.stop(lambda: 0)
    machine.reap()
    [left] = fake.instances()
    assert left["status"] == "STOPPING"
    assert fake.calls()["delete"] == 1


def test_a_stop_is_tried_until_it_is_taken(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "delete", "times": 7}])
    machine.stop(lambda: 0)
    machine.reap()
    fake.await_gone()


def test_a_stop_that_is_hurried_and_not_taken_leaves_the_directory_to_the_next_daemon(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm
) -> None:
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "delete"}])
    machine.kill()
    with pytest.raises(OSError, match="cannot be deleted"):
        machine.stop(lambda: DEADLINE)
    machine.reap()
    assert fake.instances()


def test_a_list_that_fails_ends_no_machine(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "list"}])
    await_calls(fake, "list", 3)
    assert not ends_within(machine, 0)
    machine.leave()


def test_a_zone_that_does_not_answer_affects_no_watched_machines(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, guests: NoGuests
) -> None:
    unseen, seen = provider.start(make_vm(zone=OTHER_ZONE)), provider.start(make_vm())
    fake.behave(unseen=[OTHER_ZONE])
    await_calls(fake, "get", 2)
    assert not ends_within(unseen, 0)
    fake.behave(unseen=[OTHER_ZONE], refusals=[{"method": "get"}])
    guests.off.add(seen.name)
    assert ends_within(seen, DEADLINE)
    assert not ends_within(unseen, 0)
    for machine in (unseen, seen):
        machine.leave()


def test_many_machines_are_watched_with_one_call_a_check(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    machines = [provider.start(make_vm()) for _ in range(5)]
    before = fake.calls().get("list", 0)
    await_calls(fake, "list", before + 3)
    assert "get" not in fake.calls()
    for machine in machines:
        machine.leave()
