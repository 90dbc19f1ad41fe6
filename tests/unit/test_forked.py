"""Processes that tests fork are what started ones would be to who waits for them, signals them and ends them."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil
import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK, STARTED, StartFailed, start, stop, unproxied
from emulators.source import start_source
from launcher.machines.start_times import started_at
from tests.harness.forked import LOADED, SERVERS, Forked, await_end, environment_of, fork_server
from tools.sources import PRODUCT, TESTS

ROOT: Final = Path(__file__).parents[2]
SERVER: Final = ("http.server", ("--bind", LOOPBACK, "0"))
"""A module that runs until it is ended, and its arguments."""
INHERITED: Final = """
import os
found = [number for number in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{number}")]
print([number for number in found if number > 2 and os.get_inheritable(number)])
"""


def test_a_command_that_does_not_end_in_time_is_killed_and_named(tmp_path: Path) -> None:
    with Forked(*SERVER, {}, tmp_path) as command, pytest.raises(subprocess.TimeoutExpired, match=r"http\.server"):
        command.communicate(timeout=0.1)

    assert command.returncode == -signal.SIGKILL


def test_a_server_leads_its_session_as_soon_as_it_is_started(tmp_path: Path) -> None:
    """Who kills a session that does not exist yet kills nothing."""
    server, ticks = fork_server(*SERVER, tmp_path / "log", {}, tmp_path)
    assert server.pid is not None
    try:
        assert os.getsid(server.pid) == server.pid
        assert started_at(server.pid) == ticks
    finally:
        server.kill()
    assert await_end(server) == -signal.SIGKILL


def test_a_server_that_ends_at_once_has_started(tmp_path: Path) -> None:
    server, ticks = fork_server("no_such_module", (), tmp_path / "log", {}, tmp_path)

    assert await_end(server) == 1
    assert ticks > 0
    assert "no_such_module" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("module", ["emulators.scheduler", "http.server"])
def test_a_servers_log_is_opened_before_it_starts_forked_or_not(tmp_path: Path, module: str) -> None:
    """Who waits for an event reads the log at once. If it cannot be opened, the error names it, and nothing starts."""
    (tmp_path / "taken.log").mkdir()
    with pytest.raises(StartFailed, match=r"taken\.log"):
        start("a server", [sys.executable, "-m", module], tmp_path / "taken.log")

    assert not (tmp_path / STARTED).exists()


def test_what_a_command_starts_inherits_no_file_of_the_tests(tmp_path: Path) -> None:
    with Forked("timeit", ("--number=1", "--repeat=1", INHERITED), {}, tmp_path) as command:
        output, errors = command.communicate()

    assert (output.splitlines()[:1], errors) == (["[]"], "")


def test_what_is_loaded_before_anything_is_forked_exists() -> None:
    """Multiprocessing passes over a module that does not, and each fork would load it by itself."""
    assert [name for name in (*LOADED, *SERVERS) if find_spec(name) is None] == []


def test_a_server_of_the_local_stack_is_forked_with_its_own_variables_and_nothing_else_is(tmp_path: Path) -> None:
    program = start("another program", [sys.executable, "-c", "pass"], tmp_path / "logs" / "program.log")
    port = free_port()
    source = start_source(port, tmp_path)
    try:
        parent = psutil.Process(source.pid).parent()
        assert parent is not None
        assert parent.parent() == psutil.Process()
        assert environment_of(source.pid) == {**os.environ, **unproxied(os.environ)}
    finally:
        stop(source)
        stop(program)
    with pytest.raises(KeyError):
        environment_of(program.pid)


def test_no_test_and_no_part_runs_code_between_a_fork_and_the_program_that_follows() -> None:
    """With gRPC's threads in the process, such a fork now and then ends by SIGABRT."""
    files = [file for folder in (*PRODUCT, TESTS) for file in sorted((ROOT / folder).rglob("*.py"))]
    argument = "_".join(("preexec", "fn="))

    assert Path(__file__) in files
    assert [file for file in files if argument in file.read_text(encoding="utf-8")] == []
