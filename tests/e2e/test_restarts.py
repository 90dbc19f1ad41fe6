"""A launcher is killed or frozen while its machine runs, and continues after that."""

import os
import signal
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from emulators.settings import BackendChoice, ProviderChoice
from shared.domain.order import State
from shared.domain.spec import ExportSpec, TaskSpec
from tests.harness.processes import await_end, is_running
from tests.harness.stack import await_machine, in_state, stack_of

PI = "01K9MHPYR07M6YMZ1QGR8DZB8S"


@pytest.mark.slow
@pytest.mark.vm
@pytest.mark.emulator
def test_a_launcher_killed_while_a_machine_boots_adopts_it_and_the_export_succeeds_without_a_second_boot(
    guest_image: Path, tmp_path: Path
) -> None:
    with stack_of(tmp_path, ProviderChoice.QEMU, BackendChoice.GOOGLE, guest_image.parent) as stack:
        order = stack.api.create_order(ExportSpec(pi=PI), str(uuid4()))
        machine = await_machine(stack.state)
        stack.await_order(order.id, in_state(State.PROVISIONING, State.RUNNING))
        daemon = psutil.Process(stack.launcher.pid)
        environment = stack.environment

        daemon.kill()
        await_end(daemon)
        assert is_running(machine)
        stack.start_launcher(environment)

        done = stack.await_order(order.id, in_state(State.SUCCEEDED, State.FAILED))
        await_end(machine)
        assert (done.state, done.epoch, done.attempt) == (State.SUCCEEDED, 1, 1), done
        stack.api.download_output(done, tmp_path / "record.xml")
        [log] = stack.await_no_machine()
        assert log.read_text(errors="replace").count("started on Linux") == 1


@pytest.mark.slow
def test_a_launcher_frozen_past_its_lease_changes_nothing_when_it_resumes_and_stops_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Far more than the 5 s that a claim may wait: the launcher counts its lease from when it asked.
    monkeypatch.setenv("LAUNCHYARD_LEASE_SECONDS", "30")
    with stack_of(tmp_path, ProviderChoice.PROCESS, BackendChoice.MEMORY, tmp_path) as stack:
        done = tmp_path / "done"
        wait = f"for look in $(seq 6000); do [ -e {done} ] && break; sleep 0.1; done; echo over"
        order = stack.api.create_order(TaskSpec(command=("sh", "-c", wait)), str(uuid4()))
        stack.await_order(order.id, in_state(State.RUNNING))
        machine = await_machine(stack.state)
        frozen = psutil.Process(stack.launcher.pid)
        environment = stack.environment

        frozen.suspend()
        machine.suspend()  # else its worker would find out by itself, and end
        try:
            stack.await_order(order.id, in_state(State.QUEUED))
            other = tmp_path / "other"
            stack.start_launcher(environment, LAUNCHYARD_LAUNCHER_NAME="other", LAUNCHYARD_STATE_DIR=str(other))
            taken = stack.await_order(order.id, in_state(State.RUNNING))
            assert is_running(machine)
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        await_end(machine)
        assert stack.await_no_machine()

        after = stack.api.get_order(order.id)
        assert (after.state, after.epoch, after.vm) == (State.RUNNING, 2, taken.vm)
        done.touch()
        succeeded = stack.await_order(order.id, in_state(State.SUCCEEDED, State.FAILED))
        assert (succeeded.state, succeeded.epoch) == (State.SUCCEEDED, 2)
