"""The next daemon finds the machines of an earlier one, and ends those that belong to no order."""

import threading
from dataclasses import replace

import pytest

from launcher.machines.port import MachineState
from launcher.machines.remote.marks import Owner
from launcher.providers.fly.creation import MachineRecord, read_record
from launcher.providers.fly.options import FlyOptions
from launcher.providers.fly.provider import FlyProvider
from tests.fly import APP, Fake, NoPrograms
from tests.harness.waiting import await_value
from tests.launcher.fly.machines import DEADLINE, OWNER, TASK, MakeVm, a_provider, ends_within
from tests.launcher.stand_ins import NAMESAKES


def test_the_next_daemon_adopts_a_machine_and_ends_it(
    fake: Fake, provider: FlyProvider, options: FlyOptions, make_vm: MakeVm
) -> None:
    vm = make_vm(TASK)
    provider.start(vm).leave()
    following = a_provider(options)
    assert following.state_of(vm) is MachineState.RUNS
    machine = following.adopt(vm)
    assert machine is not None
    assert not ends_within(machine, 0)
    machine.stop(lambda: DEADLINE)
    machine.reap()
    fake.await_gone()
    assert len(fake.made()) == 1


def test_a_machine_of_which_only_the_intention_was_written_down_is_found_by_its_name(
    fake: Fake, provider: FlyProvider, options: FlyOptions, make_vm: MakeVm
) -> None:
    vm = make_vm(TASK)
    machine = provider.start(vm)
    machine.leave()
    MachineRecord(app=APP, name=machine.name).write(vm)
    following = a_provider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    adopted.stop(lambda: DEADLINE)
    adopted.reap()
    fake.await_gone()


def test_a_directory_without_a_record_has_no_machine(fake: Fake, provider: FlyProvider, make_vm: MakeVm) -> None:
    assert provider.state_of(make_vm(TASK)) is MachineState.NEVER_RAN
    assert fake.calls() == {}


def test_a_machine_that_ended_between_two_daemons_is_adopted_for_its_exit_code(
    fake: Fake, provider: FlyProvider, options: FlyOptions, make_vm: MakeVm, programs: NoPrograms
) -> None:
    vm = make_vm(TASK)
    provider.start(vm).leave()
    programs.end(fake.made()[0]["id"], 5)
    fake.await_gone()
    following = a_provider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    assert ends_within(adopted, DEADLINE)
    assert adopted.reap() == 5


def test_a_machine_that_fly_has_forgotten_has_ended(
    fake: Fake, provider: FlyProvider, options: FlyOptions, make_vm: MakeVm
) -> None:
    vm = make_vm(TASK)
    machine = provider.start(vm)
    machine.stop(lambda: DEADLINE)
    machine.reap()
    fake.behave(readable_seconds=0)
    assert a_provider(options).state_of(vm) is MachineState.ENDED


def test_a_machine_of_another_app_is_not_taken_to_have_ended(
    provider: FlyProvider, options: FlyOptions, make_vm: MakeVm
) -> None:
    vm = make_vm(TASK)
    provider.start(vm).leave()
    with pytest.raises(OSError, match=APP):
        a_provider(replace(options, app="another")).state_of(vm)


@pytest.mark.parametrize("refusal", [{"status": 503}, {"status": 404, "message": "app not found"}])
def test_if_fly_does_not_answer_a_machine_is_adopted_nevertheless(
    fake: Fake, provider: FlyProvider, options: FlyOptions, make_vm: MakeVm, refusal: dict[str, object]
) -> None:
    vm = make_vm(TASK)
    provider.start(vm).leave()
    fake.behave(refusals=[{"method": "list", **refusal}, {"method": "get", **refusal}])
    following = a_provider(options)
    assert following.state_of(vm) is MachineState.RUNS
    adopted = following.adopt(vm)
    assert adopted is not None
    assert not ends_within(adopted, 0.2)
    adopted.leave()


def test_many_machines_are_traced_with_one_call(
    fake: Fake, provider: FlyProvider, options: FlyOptions, make_vm: MakeVm
) -> None:
    vms = [make_vm(TASK) for _ in range(5)]
    for vm in vms:
        provider.start(vm).leave()
    before = fake.calls().get("list", 0)
    following = a_provider(options)
    assert {following.state_of(vm) for vm in vms} == {MachineState.RUNS}
    assert fake.calls()["list"] == before + 1


def test_machines_of_no_held_order_are_ended_and_other_launchers_are_left_alone(
    fake: Fake, provider: FlyProvider, options: FlyOptions, make_vm: MakeVm, over: threading.Event
) -> None:
    kept, stray = make_vm(TASK), make_vm(TASK)
    for vm in (kept, stray):
        provider.start(vm).leave()
    others = [
        Owner("beta", OWNER.identity, OWNER.control_plane),
        Owner(OWNER.launcher, NAMESAKES, OWNER.control_plane),
        Owner(OWNER.launcher, OWNER.identity, "https://another.example"),
    ]
    foreign = [make_vm(TASK) for _ in others]
    for owner, vm in zip(others, foreign, strict=True):
        a_provider(replace(options, owner=owner)).start(vm).leave()

    a_provider(options).delete_strays(lambda: [kept.manifest.hold], over)

    left = {vm.manifest.vm for vm in (kept, *foreign)}
    await_value(lambda: {one["name"] for one in fake.machines()} == left, "the end of the stray")
    before = fake.calls()["list"]
    await_value(lambda: fake.calls()["list"] > before + 3, "further looks")
    assert {one["name"] for one in fake.machines()} == left


def test_a_machine_that_this_daemon_started_is_not_a_stray(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, over: threading.Event
) -> None:
    provider.delete_strays(tuple, over)
    machine = provider.start(make_vm(TASK))
    before = fake.calls()["list"]
    await_value(lambda: fake.calls()["list"] > before + 5, "further looks")
    assert len(fake.machines()) == 1
    fake.behave(refusals=[{"method": "delete", "times": 3}])
    machine.reap()  # it was not destroyed, and is a stray from now on
    fake.await_gone()


def test_the_record_is_there_before_the_machine_is_asked_for(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm
) -> None:
    vm = make_vm(TASK)
    fake.behave(refusals=[{"method": "create"}, {"method": "list"}])
    with pytest.raises(OSError, match="unknown"):
        provider.start(vm)
    assert read_record(vm) == MachineRecord(app=APP, name=vm.manifest.vm)
