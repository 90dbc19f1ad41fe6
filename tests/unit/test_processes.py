"""The local stack's processes: they are recognized whatever the clock shows, and no other process is taken for one."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from emulators import processes
from emulators.processes import SERVER, STARTED, Server, StartFailed, family, running, start, stop
from emulators.record import LOGS, Record

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


def test_servers_are_still_recognised_and_stopped_after_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("a sleeper", SLEEPS, tmp_path / LOGS / "sleeper.log")
    before = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: before(process) + 1)
    try:
        assert running(server)
        assert Record(tmp_path).stop_all() == [server]
        assert not family(server)
    finally:
        stop(server)


def test_a_process_with_the_ended_servers_pid_is_left_alone(tmp_path: Path) -> None:
    bystander = start("a bystander", SLEEPS, tmp_path / "bystander.log")
    try:
        ended = Server("an ended server", bystander.pid, bystander.ticks - 1, tmp_path / "ended.log")
        stop(ended)
        assert not running(ended)
        assert running(bystander)
    finally:
        stop(bystander)


def test_a_record_that_knows_processes_by_the_time_of_day_stops_nothing_and_is_kept(tmp_path: Path) -> None:
    bystander = start("a bystander", SLEEPS, tmp_path / LOGS / "bystander.log")
    try:
        record = tmp_path / LOGS / STARTED
        older = SERVER.dump_json(bystander).replace(b'"ticks":', b'"started":')
        record.write_bytes(older + b"\n")
        with pytest.raises(StartFailed, match="Another version"):
            Record(tmp_path).stop_all()
        assert running(bystander)
        assert record.read_bytes() == older + b"\n"
    finally:
        stop(bystander)


def test_a_server_that_has_ended_before_its_start_time_is_read_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have reaped it."""
    ended = subprocess.Popen(SLEEPS)
    ended.kill()
    ended.wait()
    monkeypatch.setattr(processes, "spawn", lambda argv, log, environment: ended.pid)

    with pytest.raises(StartFailed, match=r"a sleeper ended while starting; its log is .*sleeper\.log"):
        start("a sleeper", SLEEPS, tmp_path / "sleeper.log")
