"""SIGTERM and SIGHUP raise an exception on the main thread of every command that runs long."""

import signal
import subprocess
import sys
from typing import Final

import pytest

WAITS: Final = """
import sys, threading
from shared.signals import exit_on_signals
exit_on_signals()
try:
    print("begun", flush=True)
    threading.Event().wait()
finally:
    print("cleaned up", flush=True)
"""
DEADLINE: Final = 300


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_a_signal_ends_cleans_up(number: signal.Signals) -> None:
    with subprocess.Popen((sys.executable, "-c", WAITS), stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "begun\n"
        command.send_signal(number)
        assert command.stdout.read() == "cleaned up\n"
        assert command.wait(DEADLINE) == 128 + number


def test_a_command_that_was_started_to_outlive_its_terminal_does() -> None:
    argv = ("nohup", sys.executable, "-c", WAITS)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "begun\n"
        command.send_signal(signal.SIGHUP)
        command.send_signal(signal.SIGTERM)
        assert command.stdout.read() == "cleaned up\n"
        assert command.wait(DEADLINE) == 128 + signal.SIGTERM


@pytest.mark.parametrize("module", ["cli.main", "launcher"])
def test_every_command_that_runs_long_handles_signals_however_it_is_started(module: str) -> None:
    """The handlers are there before the command is known, so that no command can forget them."""
    program = f"""
import runpy, signal, sys
sys.argv = ["x", "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit:
    pass
print(*(signal.getsignal(number).__module__ for number in (signal.SIGTERM, signal.SIGHUP)))
"""
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "shared.signals shared.signals"


STARTS_ONE_MORE: Final = """
import subprocess, sys
from shared.signals import exit_on_signals
exit_on_signals()
try:
    print("begun", flush=True)
    sys.stdin.read()
finally:
    one_more = "import signal; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    subprocess.run((sys.executable, "-c", one_more))
"""


def test_a_process_that_a_command_starts_during_its_exit_reacts_to_signals() -> None:
    """A stack that is interrupted stops servers that were starting: one deaf to SIGTERM kept it for a minute."""
    argv, pipe = (sys.executable, "-c", STARTS_ONE_MORE), subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "begun\n"
        command.send_signal(signal.SIGTERM)
        assert command.stdout.read() == "True\n"
        assert command.wait(DEADLINE) == 128 + signal.SIGTERM
