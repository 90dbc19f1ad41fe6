"""Machines in control groups of their own, by a stand-in for systemd-run: like the real one it becomes the program."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.port import LaunchFailed, MachineState
from launcher.machines.records import VmProcess
from launcher.machines.start_times import started_at
from launcher.providers.process.identity import MARK, state_of
from launcher.providers.process.provider import ProcessProvider
from launcher.providers.process.recovery import LocalMachines
from launcher.providers.process.start import start_process
from launcher.providers.process.supervise import ProcessMachine
from shared.domain.order import Reason
from tests.launcher.stand_ins import A_LEASE, a_manifest
from tests.launcher.tdx_host import write

SLICE = "launchyard-vms.slice"
SYSTEMD_RUN = """#!/bin/sh
echo "$$ $*" > {recorded}
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the stand-in, first on the PATH, writes its process id and arguments."""
    recorded = tmp_path / "said"
    write(tmp_path / "bin" / "systemd-run", SYSTEMD_RUN.format(recorded=recorded)).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return recorded


def in_slice(vm: VmDirectory) -> ProcessMachine:
    return start_process(vm, vm.launch_log, unit_slice=SLICE)


def a_scoped_machine(
    state: Path, start: Callable[[VmDirectory], ProcessMachine] = in_slice
) -> tuple[VmDirectory, ProcessMachine]:
    ready = state / "ready"
    os.mkfifo(ready)
    argv = ("sh", "-c", f"echo > {ready}; sleep 600; :")
    vm = directory.create(state, a_manifest(argv=argv), b"{}", A_LEASE)
    machine = start(vm)
    ready.read_text()  # by now the machine's program runs
    return vm, machine


def test_a_machine_in_a_scope_is_the_process_on_record(tmp_path: Path, recorded: Path) -> None:
    vm, machine = a_scoped_machine(tmp_path)
    try:
        uuid = vm.manifest.uuid
        pid, *options = recorded.read_text().split(" -- ")[0].split()
        assert int(pid) == machine.pid
        assert options == ["--scope", "--quiet", "--collect", f"--slice={SLICE}", f"--unit=launchyard-vm-{uuid}"]
        assert vm.process() == VmProcess(pid=machine.pid, started=started_at(machine.pid))
        assert psutil.Process(machine.pid).environ()[MARK] == uuid
        assert state_of(vm) is MachineState.RUNS
    finally:
        machine.destroy()
    assert state_of(vm) is MachineState.ENDED


def test_a_machine_that_is_a_plain_process_is_in_a_scope_too(tmp_path: Path, recorded: Path) -> None:
    _, machine = a_scoped_machine(tmp_path, ProcessProvider(tmp_path, slice=SLICE).start)
    machine.destroy()

    assert f"--slice={SLICE}" in recorded.read_text().split()


def test_a_machine_in_a_scope_is_adopted_and_stopped(tmp_path: Path, recorded: Path) -> None:
    vm, machine = a_scoped_machine(tmp_path)
    try:
        adopted = LocalMachines().adopt(vm)
        assert adopted is not None
        adopted.stop(lambda: 10)
        adopted.reap()
        assert state_of(vm) is MachineState.ENDED
    finally:
        machine.destroy()


def test_if_systemd_run_is_not_installed_the_launch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    vm = directory.create(tmp_path, a_manifest(), b"{}", A_LEASE)

    with pytest.raises(LaunchFailed, match="systemd-run is not installed") as failed:
        start_process(vm, vm.launch_log, unit_slice=SLICE)

    assert failed.value.reason is Reason.HYPERVISOR_MISSING
    assert vm.process() is None
