"""A command that is interrupted leaves no machine."""

import signal
from pathlib import Path

import psutil
import pytest
import structlog.testing

from launcher.machines.directory import VmDirectory
from launcher.machines.resources import Size
from launcher.vm_tool import console, machines
from tests.launcher.fake_control_plane import DEADLINE
from tests.launcher.stand_ins import STAYS
from tests.launcher.tdx_host import a_tdx_host
from tests.launcher.vm_tool.tool import Tool, a_machine, a_measuring_provider, a_waiting_command, await_process


@pytest.mark.vm
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_gets_a_signal_while_it_waits_leaves_no_machine(
    tool: Tool, tmp_path: Path, number: signal.Signals
) -> None:
    command = a_waiting_command(tool)
    process = psutil.Process(await_process(tool.state))

    command.send_signal(number)
    answer, actual = command.communicate(timeout=DEADLINE)

    assert command.returncode not in (0, -number), actual
    assert answer == b""
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list((tool.state / "vms").iterdir()) == []


@pytest.mark.vm
def test_a_second_signal_does_not_cut_the_cleanup_short(tool: Tool) -> None:
    command = a_waiting_command(tool)
    process = psutil.Process(await_process(tool.state))

    process.suspend()  # so that its end takes until it is killed
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        command.send_signal(number)
    command.communicate(timeout=DEADLINE)

    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert list((tool.state / "vms").iterdir()) == []


@pytest.mark.vm
def test_a_measurement_that_is_interrupted_leaves_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(made: VmDirectory, _seconds: float) -> dict[str, str]:
        recorded = made.process()
        assert recorded is not None
        processes.append(psutil.Process(recorded.pid))
        raise SystemExit(128 + signal.SIGTERM)

    processes: list[psutil.Process] = []
    monkeypatch.setattr(machines, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(console, "await_registers", interrupted)
    with a_tdx_host(tmp_path) as host:
        provider = a_measuring_provider(tmp_path, host, "")

        with pytest.raises(SystemExit):
            machines.measure(tmp_path / "state", provider, Size(memory_mib=64, vcpus=1), seconds=20)

    assert not processes[0].is_running() or processes[0].status() == psutil.STATUS_ZOMBIE
    assert list((tmp_path / "state" / "vms").iterdir()) == []


def test_a_machine_that_cannot_be_removed_on_the_way_out_is_named(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unclear(_made: VmDirectory) -> None:
        raise machines.MachineUnclear("end it by hand")

    made, _ = a_machine(tool.state, STAYS)
    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(machines, "end", unclear)
        with pytest.raises(machines.MachineUnclear), machines.removed_on_failure(tool.state, made.manifest.vm):
            raise SystemExit(1)

    assert [line["vm"] for line in logs] == [made.manifest.vm]
