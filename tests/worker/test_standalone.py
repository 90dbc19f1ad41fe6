"""A machine without an order: its worker, as a process of its own or on this thread."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.guest.config import StandaloneConfig, StandaloneProgram
from shared.guest.console import REGISTERS, UP
from worker import standalone

MEASURING = StandaloneConfig(program=StandaloneProgram.MEASURE, vm="one")


def test_an_idle_worker_prints_that_it_is_up_and_stays_until_it_is_stopped(tmp_path: Path) -> None:
    config = StandaloneConfig(program=StandaloneProgram.IDLE, vm="one", control_plane="http://127.0.0.1:9")
    (tmp_path / "config.json").write_bytes(config.canonical())
    argv = (sys.executable, "-m", "worker", "--config", str(tmp_path / "config.json"))

    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        rest, _ = worker.communicate(timeout=300)

    assert line.startswith(f"[worker] vm=one {UP}, ")
    assert rest == ""


def test_a_measuring_worker_prints_its_registers_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(REGISTERS):
        (tmp_path / f"{name}:sha384").write_bytes(bytes([number]) * 48)

    assert standalone.run(MEASURING, "1.0", tmp_path) == 0

    words = " ".join(f"{name}={bytes([number]).hex() * 48}" for number, name in enumerate(REGISTERS))
    assert capsys.readouterr().out.splitlines()[1] == f"MEASURE {words}"


def test_a_kernel_without_registers_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert standalone.run(MEASURING, "1.0", tmp_path) == 1

    expected = f"MEASURE failed: {tmp_path}/mrtd:sha384: No such file or directory"
    assert capsys.readouterr().out.splitlines()[1] == expected
