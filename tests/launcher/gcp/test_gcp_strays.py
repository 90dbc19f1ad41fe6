"""Instances that belong to no held order are deleted."""

import threading
import time
from dataclasses import replace
from itertools import count

from launcher.machines.remote.strays import Strays
from launcher.providers.gcp import compute
from launcher.providers.gcp.compute import FoundInstance
from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.provider import GcpProvider, fleet_of, strays_of
from shared.wire.launchers import Hold
from tests.compute import PROJECT, Fake, NoGuests
from tests.launcher.gcp.instances import DEADLINE, MakeVm, await_calls, ends_within, hold_of
from tests.launcher.stand_ins import NAMESAKES


def test_only_instances_that_were_strays_twice_are_deleted(
    fake: Fake, provider: GcpProvider, strays: Strays[FoundInstance], options: GcpOptions, make_vm: MakeVm
) -> None:
    kept, stray = make_vm(), make_vm()
    earlier = make_vm(Hold(order_id=kept.manifest.order_id, epoch=7))
    for vm in (kept, stray, earlier):
        provider.start(vm).leave()
    beta = GcpProvider(replace(options, launcher="beta"))
    namesake = GcpProvider(replace(options, control_plane="https://another.example"))
    twin = GcpProvider(replace(options, identity=NAMESAKES))
    foreign = [make_vm(), make_vm(), make_vm()]
    for other, vm in zip((beta, namesake, twin), foreign, strict=True):
        other.start(vm).leave()

    strays.check(lambda: [hold_of(kept)])
    assert len(fake.instances()) == 3 + len(foreign)
    strays.check(lambda: [hold_of(kept)])

    left = {one["name"] for one in fake.instances() if one["status"] == "RUNNING"}
    assert left == {vm.manifest.vm for vm in (kept, *foreign)}


def test_an_instance_with_another_launchers_labels_is_never_deleted(
    fake: Fake, options: GcpOptions, provider: GcpProvider, make_vm: MakeVm
) -> None:
    provider.start(make_vm()).leave()
    asked = compute.Compute(PROJECT, options.endpoint)
    another = replace(options, launcher="beta")
    strays = strays_of(another, asked, fleet_of(options, asked, count(0, 60).__next__))

    for _ in range(3):
        strays.check(tuple)

    assert len(fake.instances()) == 1


def test_one_list_that_is_checked_twice_is_one_check(
    fake: Fake, options: GcpOptions, provider: GcpProvider, make_vm: MakeVm
) -> None:
    provider.start(make_vm()).leave()
    asked = compute.Compute(PROJECT, options.endpoint)
    strays = strays_of(options, asked, fleet_of(options, asked, lambda: 0.0))

    for _ in range(3):
        strays.check(tuple)

    assert len(fake.instances()) == 1


def test_an_insert_that_is_carried_out_late_is_deleted_while_the_launcher_runs(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    provider.delete_strays(tuple, over)
    await_calls(fake, "list", 2)
    late = GcpProvider(options)  # whose requests come when this one has given up
    late.start(make_vm()).leave()
    fake.await_gone()


def test_an_instance_that_ended_by_itself_without_a_hold_is_deleted_with_its_disk(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, strays: Strays[FoundInstance], guests: NoGuests
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    guests.off.add(vm.manifest.vm)
    while fake.instances()[0]["status"] != "TERMINATED":
        time.sleep(0.01)
    for _ in range(2):
        strays.check(tuple)
    fake.await_gone()


def test_a_stray_that_cannot_be_deleted_is_retried_and_other_strays_are_deleted(
    fake: Fake, provider: GcpProvider, strays: Strays[FoundInstance], make_vm: MakeVm
) -> None:
    for vm in (make_vm(), make_vm()):
        provider.start(vm).leave()
    fake.behave(refusals=[{"method": "delete", "status": 403, "reason": "forbidden", "times": 1}])
    for _ in range(2):
        strays.check(tuple)
    assert len([one for one in fake.instances() if one["status"] == "RUNNING"]) == 1
    strays.check(tuple)
    fake.await_gone()


def test_an_instance_that_this_daemon_started_or_adopted_is_not_a_stray(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    provider.delete_strays(tuple, over)
    following = GcpProvider(options)
    adopted = following.adopt(vm)
    following.delete_strays(tuple, over)
    await_calls(fake, "list", 6)
    assert len(fake.instances()) == 1
    assert adopted is not None
    adopted.leave()


def test_a_machine_whose_last_deletion_was_refused_is_a_stray(
    fake: Fake, provider: GcpProvider, make_vm: MakeVm, guests: NoGuests, over: threading.Event
) -> None:
    provider.delete_strays(tuple, over)
    machine = provider.start(make_vm())
    fake.behave(refusals=[{"method": "delete", "times": 3}])
    guests.off.add(machine.name)
    assert ends_within(machine, DEADLINE)
    machine.reap()
    fake.await_gone()


def test_the_check_for_strays_is_repeated_until_it_is_answered(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    provider.start(make_vm()).leave()
    fake.behave(refusals=[{"method": "list", "times": 7}])
    GcpProvider(options).delete_strays(tuple, over)
    fake.await_gone()
