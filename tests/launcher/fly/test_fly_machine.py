"""A running machine: watched, stopped and destroyed."""

import pytest

from launcher.providers.fly.provider import FlyProvider
from tests.fly import Fake, NoPrograms
from tests.harness.waiting import await_value
from tests.launcher.fly.machines import (
    DEADLINE,
    FOREIGN_EXPORT,
    FOREIGN_TASK,
    TASK,
    MakeVm,
    ends_within,
    readable_within,
)


def the_id(fake: Fake) -> str:
    return str(fake.made()[-1]["id"])


def await_lists(fake: Fake, more: int) -> None:
    before = fake.calls().get("list", 0)
    await_value(lambda: fake.calls().get("list", 0) >= before + more, f"{more} lists")


@pytest.mark.parametrize("code", [0, 1, 101])
def test_a_machine_that_ends_by_itself_has_its_programs_exit_code(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, programs: NoPrograms, code: int
) -> None:
    machine = provider.start(make_vm(TASK))
    assert not ends_within(machine, 0)
    programs.end(the_id(fake), code)
    assert ends_within(machine, DEADLINE)
    assert machine.reap() == code
    assert "delete" not in fake.calls()  # it destroys itself


def test_a_machine_that_fly_has_forgotten_has_ended_without_a_code(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, programs: NoPrograms
) -> None:
    machine = provider.start(make_vm(TASK))
    fake.behave(readable_seconds=0)
    programs.end(the_id(fake), 0)
    assert ends_within(machine, DEADLINE)
    assert machine.reap() is None


def test_a_stopped_machine_is_gone(fake: Fake, provider: FlyProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm(TASK))
    machine.stop(lambda: DEADLINE)
    assert not fake.machines()
    assert machine.reap() == 143
    assert (fake.calls()["stop"], fake.calls().get("delete")) == (1, None)  # it destroys itself


def test_a_machine_that_ends_by_itself_is_asked_for_nothing(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, programs: NoPrograms
) -> None:
    machine = provider.start(make_vm(TASK))
    programs.end(the_id(fake), 0)
    assert ends_within(machine, DEADLINE)
    machine.stop(lambda: DEADLINE)
    assert machine.reap() == 0
    assert fake.calls().keys() <= {"create", "list", "get"}


def test_a_program_that_does_not_heed_the_stop_is_destroyed(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, programs: NoPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.providers.fly.machine.STOP_SECONDS", 0.2)
    monkeypatch.setattr(programs, "terminate", lambda _machine_id: None)
    machine = provider.start(make_vm(TASK))
    await_lists(fake, 1)
    machine.stop(lambda: DEADLINE)
    assert not fake.machines()
    assert machine.reap() == 137


def test_a_stop_without_patience_asks_for_the_end_and_does_not_wait(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm
) -> None:
    machine = provider.start(make_vm(TASK))
    fake.behave(stage_seconds=3600)
    machine.stop(lambda: 0)
    machine.reap()
    [left] = fake.machines()
    assert left["state"] == "destroying"
    assert (fake.calls()["delete"], fake.calls().get("stop")) == (1, None)


def test_a_stop_is_tried_until_it_is_taken(fake: Fake, provider: FlyProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm(TASK))
    fake.behave(refusals=[{"method": "delete", "times": 7}])
    machine.stop(lambda: 0)
    machine.reap()
    fake.await_gone()


def test_a_stop_that_is_hurried_and_not_taken_leaves_the_directory_to_the_next_daemon(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm
) -> None:
    machine = provider.start(make_vm(TASK))
    fake.behave(refusals=[{"method": "delete"}])
    machine.kill()
    with pytest.raises(OSError, match="cannot be destroyed"):
        machine.stop(lambda: DEADLINE)
    machine.reap()
    assert fake.machines()


def test_a_list_that_fails_ends_no_machine(fake: Fake, provider: FlyProvider, make_vm: MakeVm) -> None:
    machine = provider.start(make_vm(TASK))
    fake.behave(refusals=[{"method": "list"}])
    await_lists(fake, 6)
    assert not ends_within(machine, 0)
    machine.leave()


def test_many_machines_are_watched_with_one_call_a_check(fake: Fake, provider: FlyProvider, make_vm: MakeVm) -> None:
    machines = [provider.start(make_vm(TASK)) for _ in range(5)]
    await_lists(fake, 3)
    assert "get" not in fake.calls()
    for machine in machines:
        machine.leave()


def test_only_a_foreign_exports_machine_is_reported_as_running_by_its_launcher(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm
) -> None:
    fake.behave(stage_seconds=3600)
    foreign = provider.start(make_vm(FOREIGN_EXPORT))
    others = [provider.start(make_vm(spec)) for spec in (TASK, FOREIGN_TASK)]
    assert [one.up for one in others] == [None, None]
    await_lists(fake, 2)
    assert not readable_within(foreign.up, 0)
    for machine in others:
        machine.leave()
    foreign.leave()

    fake.behave()
    started = provider.start(make_vm(FOREIGN_EXPORT))
    assert readable_within(started.up, DEADLINE)
    assert not ends_within(started, 0)
    started.leave()


def test_a_machine_that_ended_between_two_looks_has_run_and_one_that_never_started_has_not(
    fake: Fake, provider: FlyProvider, make_vm: MakeVm, programs: NoPrograms
) -> None:
    ran = provider.start(make_vm(FOREIGN_EXPORT))
    programs.end(the_id(fake), 0)
    assert ends_within(ran, DEADLINE)
    assert readable_within(ran.up, 0)
    ran.reap()

    fake.behave(stage_seconds=3600)
    never = provider.start(make_vm(FOREIGN_EXPORT))
    never.stop(lambda: 0)
    fake.behave(readable_seconds=0)
    never.reap()


def test_only_a_foreign_workers_last_report_is_waited_for(provider: FlyProvider, make_vm: MakeVm) -> None:
    machines = [provider.start(make_vm(spec)) for spec in (FOREIGN_EXPORT, FOREIGN_TASK, TASK)]
    assert [machine.grace_seconds for machine in machines] == [30, 30, 0]
    for machine in machines:
        machine.leave()
