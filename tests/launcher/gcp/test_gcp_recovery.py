"""The next daemon finds the instances of an earlier one."""

from dataclasses import replace

import pytest

from launcher.machines.port import MachineState
from launcher.providers.gcp.insertion import InstanceRecord, read_record
from launcher.providers.gcp.options import GcpOptions
from launcher.providers.gcp.provider import GcpProvider
from tests.compute import PROJECT, ZONE, Fake, NoGuests
from tests.launcher.gcp.instances import DEADLINE, OTHER_ZONE, MakeVm, ends_within


def test_the_next_daemon_adopts_a_machine_and_ends_it(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    machine = following.adopt(vm)
    assert machine is not None
    assert machine.pid is None
    assert not ends_within(machine, 0)
    machine.stop(lambda: DEADLINE)
    machine.reap()
    fake.await_gone()
    assert len(fake.made()) == 1


def test_an_instance_of_which_only_the_intention_was_written_down_is_found_in_whichever_zone_it_is(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    fake.behave(shortages=[{"zone": ZONE}])
    machine = provider.start(vm)
    machine.leave()
    assert read_record(vm) == InstanceRecord(project=PROJECT, name=machine.name, zones=(ZONE, OTHER_ZONE))
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    adopted.stop(lambda: DEADLINE)
    adopted.reap()
    fake.await_gone()


def test_a_directory_without_a_record_has_no_instance(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    assert provider.state_of(make_vm()) is MachineState.NEVER_RAN
    assert fake.calls() == {}


def test_an_instance_that_is_gone_has_ended(fake: Fake, provider: GcpProvider, make_vm: MakeVm) -> None:
    vm = make_vm()
    machine = provider.start(vm)
    machine.stop(lambda: DEADLINE)
    machine.reap()
    assert provider.state_of(vm) is MachineState.ENDED


def test_an_instance_that_has_ended_and_is_still_there_is_adopted_to_be_deleted(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm, guests: NoGuests
) -> None:
    vm = make_vm()
    machine = provider.start(vm)
    machine.leave()
    guests.off.add(machine.name)
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    assert ends_within(adopted, DEADLINE)
    adopted.reap()
    fake.await_gone()


def test_an_instance_of_another_project_is_not_taken_to_have_ended(
    provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    with pytest.raises(OSError, match=PROJECT):
        GcpProvider(replace(options, project="another")).state_of(vm)


def test_if_compute_engine_does_not_answer_a_machine_is_adopted_nevertheless(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = make_vm()
    provider.start(vm).leave()
    fake.behave(refusals=[{"method": "list"}, {"method": "get"}])
    following = GcpProvider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    assert not ends_within(adopted, 0.2)
    adopted.leave()


def test_many_machines_are_traced_with_one_call(
    fake: Fake, provider: GcpProvider, options: GcpOptions, make_vm: MakeVm
) -> None:
    vm = [make_vm() for _ in range(5)]
    for one in vm:
        provider.start(one).leave()
    before = fake.calls().get("list", 0)
    following = GcpProvider(options)
    assert {following.state_of(one) for one in vm} == {MachineState.RUNS}
    assert fake.calls()["list"] == before + 1
