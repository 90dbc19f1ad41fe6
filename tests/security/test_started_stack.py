"""The local stack on a developer's machine: what it started it stops and never forgets, and nobody else reads it."""

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import psutil
import pytest

from emulators import record
from emulators.processes import STARTED, Server, StartFailed, family, running, start, stop
from emulators.record import LOGS, Record

SLEEPS: Final = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that the stack in `tmp_path` has started."""
    server = start("a sleeper", SLEEPS, tmp_path / LOGS / "sleeper.log")
    yield server
    stop(server)


def test_a_stack_is_stopped_although_the_clock_moves_all_the_time(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, steps = psutil.Process.create_time, count(1)
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: before(process) + 3600 * next(steps))

    assert Record(tmp_path).stop_all() == [server]

    monkeypatch.undo()
    assert not running(server)
    assert not (tmp_path / LOGS / STARTED).exists()


def test_what_could_not_be_stopped_is_named_and_stays_recorded(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "stop", lambda _: None)
    with pytest.raises(StartFailed, match=f"a sleeper \\(process {server.pid}\\).*launchyard down"):
        Record(tmp_path).stop_all()
    assert Record(tmp_path).alive() == [server]

    monkeypatch.undo()
    assert Record(tmp_path).stop_all() == [server]


def test_a_process_of_another_user_is_not_forgotten_and_the_others_are_stopped(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    anothers = start("another user's", SLEEPS, tmp_path / LOGS / "another.log")
    stops = psutil.Process.send_signal

    def refuse(process: psutil.Process) -> None:
        if process.pid == anothers.pid:
            raise psutil.AccessDenied(process.pid)
        stops(process, 9)

    monkeypatch.setattr(psutil.Process, "terminate", refuse)
    monkeypatch.setattr(psutil.Process, "kill", refuse)
    monkeypatch.setattr(record, "stop", lambda server: stop(server, seconds=0.1))
    try:
        with pytest.raises(StartFailed, match=f"process {anothers.pid}"):
            Record(tmp_path).stop_all()
        assert not running(server)
        assert Record(tmp_path).alive() == [anothers]
    finally:
        monkeypatch.undo()
        stop(anothers)


def test_what_a_server_starts_while_the_stack_is_stopped_is_stopped_too(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Server] = []

    def stop_slowly(which: Server) -> None:
        if not started:
            started.append(start("a machine's program", SLEEPS, tmp_path / LOGS / "program.log"))
        stop(which)

    monkeypatch.setattr(record, "stop", stop_slowly)

    assert Record(tmp_path).stop_all() == [server, *started]
    assert not [one for one in (server, *started) if family(one)]
