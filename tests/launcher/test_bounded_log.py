"""Machines' logs: bounded even if the machine outlives its daemon, and complete up to its end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import psutil
import pytest
import structlog.testing

from launcher.machines import bounded_log, directory
from launcher.machines.directory import MIB, VmDirectory
from launcher.machines.port import MachineState
from launcher.orders.reports import last_words
from launcher.providers.process import start as launch
from launcher.providers.process.identity import MARK, state_of
from launcher.providers.process.recovery import LocalMachines
from launcher.providers.process.supervise import ProcessMachine
from shared.log_events import LogEvent
from tests.launcher.fake_control_plane import DEADLINE
from tests.launcher.stand_ins import A_LEASE, STAYS, a_manifest

FLOODS: Final = """
import os
for number in range(400_000):
    for log in (1, 3):
        os.write(log, b"line %07d\\n" % number)
for log in (1, 3):
    os.write(log, b"the last words\\n")
"""
"""More than 5 MiB to each log."""
STARTS: Final = """
import os, sys
from pathlib import Path
from launcher.machines import directory
from launcher.providers.process import start as launch
launch.MAX_LOG_MIB = 1
vm = directory.read(Path(sys.argv[1]))
launch.start_process(vm, vm.launch_log, console=vm.serial_log)
os._exit(0)
"""


def a_directory(state: Path, *argv: str) -> VmDirectory:
    return directory.create(state, a_manifest(argv=argv), b"{}", A_LEASE)


def start(vm: VmDirectory) -> ProcessMachine:
    return launch.start_process(vm, vm.launch_log, console=vm.serial_log)


def await_end(vm: VmDirectory) -> None:
    recorded = vm.process()
    assert recorded is not None
    try:
        psutil.Process(recorded.pid).wait(DEADLINE)
    except psutil.NoSuchProcess:
        return


def assert_bounded_with_its_last_words(log: Path) -> None:
    lines = log.read_bytes().splitlines()
    assert MIB // 2 - 20 <= log.stat().st_size <= MIB
    assert lines[-2:] == [b"line 0399999", b"the last words"]
    assert all(len(line) == len(lines[0]) for line in lines[:-1]), "it begins with a whole line"


def test_a_machine_that_never_stops_talking_fills_no_disk_and_its_last_words_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "MAX_LOG_MIB", 1)
    vm = a_directory(tmp_path, sys.executable, "-c", FLOODS)
    machine = start(vm)
    await_end(vm)
    machine.reap()
    vm.await_logs()
    for log in (vm.serial_log, vm.launch_log):
        assert_bounded_with_its_last_words(log)


def test_a_log_stays_bounded_after_the_process_that_started_the_machine_has_ended(tmp_path: Path) -> None:
    vm = a_directory(tmp_path, sys.executable, "-c", f"input_there = open({str(tmp_path / 'go')!r}).read()\n{FLOODS}")
    os.mkfifo(tmp_path / "go")
    subprocess.run((sys.executable, "-c", STARTS, str(vm.path)), check=True)
    assert state_of(vm) is MachineState.RUNS
    (tmp_path / "go").write_text("go")
    await_end(vm)
    vm.await_logs()
    for log in (vm.serial_log, vm.launch_log):
        assert_bounded_with_its_last_words(log)


def test_the_kept_log_of_a_killed_machine_has_all_that_it_wrote(tmp_path: Path) -> None:
    talks = "import os, time\nos.write(3, b'x' * 60_000 + b'the last words')\nos.write(1, b'said')\ntime.sleep(600)"
    vm = a_directory(tmp_path, sys.executable, "-c", talks)
    machine = start(vm)
    while not vm.launch_log.read_bytes():
        assert not machine.ended_within(0.01)
    machine.destroy()
    vm.remove()
    assert (tmp_path / "logs" / f"{vm.path.name}.log").read_bytes().endswith(b"xthe last words")


def test_a_log_that_is_still_written_is_waited_for_before_it_is_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "LOGS_SECONDS", 0.05)
    vm = a_directory(tmp_path, *STAYS)
    machine = start(vm)
    writer = await_writer(vm, machine)
    writer.suspend()
    try:
        machine.destroy()
        with structlog.testing.capture_logs() as logs:
            vm.remove()
        assert [line["event"] for line in logs] == [LogEvent.LOG_STILL_WRITTEN]
    finally:
        writer.resume()


def test_the_log_gets_the_last_line_that_an_ended_machine_wrote_however_late_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = tmp_path / "waits"
    os.mkfifo(waits)
    vm = a_directory(tmp_path, sys.executable, "-c", f"import os\nopen({str(waits)!r}).read()\nos.write(3, b'no disk')")
    machine = start(vm)
    writer = await_writer(vm, machine)
    writer.suspend()
    waits.write_text("go")
    await_end(vm)
    machine.reap()
    # Whoever waits for the writer has it go on.
    monkeypatch.setattr(directory, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: writer.resume()))
    try:
        logged = last_words(vm)
    finally:
        writer.resume()
    assert logged == {"serial_log": str(vm.kept_log), "last_line": "no disk"}


def test_a_disk_that_is_full_loses_the_log_and_never_holds_up_the_machine(tmp_path: Path) -> None:
    vm = a_directory(tmp_path, sys.executable, "-c", FLOODS)
    vm.serial_log.symlink_to("/dev/full")
    machine = start(vm)
    await_end(vm)
    assert machine.reap() == 0
    vm.await_logs()
    assert vm.launch_log.read_bytes().endswith(b"the last words\n")


def test_a_log_that_cannot_be_cut_is_emptied(tmp_path: Path) -> None:
    (tmp_path / ".a.log.partial").mkdir()
    log = bounded_log.BoundedLog(tmp_path / "a.log", 100)
    for _ in range(50):
        log.write(b"ten bytes\n")
    assert 0 < (tmp_path / "a.log").stat().st_size <= 100


def test_the_writer_of_a_machines_logs_is_no_part_of_the_machine_and_ends_with_it(tmp_path: Path) -> None:
    vm = a_directory(tmp_path, *STAYS)
    machine = start(vm)
    writer = await_writer(vm, machine)
    assert writer not in psutil.Process(machine.pid).children(recursive=True)
    assert MARK not in writer.environ()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        writer.send_signal(number)
    adopted = LocalMachines().adopt(vm)
    assert adopted is not None
    adopted.stop(lambda: DEADLINE)
    adopted.reap()
    machine.reap()
    vm.await_logs()
    assert psutil.wait_procs([writer], DEADLINE)[1] == []


def await_writer(vm: VmDirectory, machine: ProcessMachine) -> psutil.Process:
    while not (writers := [one for one in psutil.process_iter() if is_writer(one, vm)]):
        assert not machine.ended_within(0.01)
    [writer] = writers
    return writer


def is_writer(process: psutil.Process, vm: VmDirectory) -> bool:
    try:
        return bounded_log.WRITE in process.cmdline() and str(vm.serial_log) in process.cmdline()
    except psutil.NoSuchProcess:
        return False
