"""Starting a server as a child process, waiting until it answers, and stopping exactly what was started."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

LOOPBACK: Final = "127.0.0.1"
READY_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.05
STOP_SECONDS: Final = 60.0
"""Longer than a launcher takes to stop its machines one step after the other."""


class StartFailed(Exception):
    """A server did not start; the message says which, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: the leader of its own process group, known by process id and start time."""

    name: str
    pid: int
    started: float
    """Seconds since the Unix epoch, as the kernel reports it: a reused process id is not taken for ours."""
    log: Path


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free(name: str, port: int, setting: str) -> None:
    """Raises StartFailed where the port is taken, naming the setting that moves it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            message = f"Port {port}, for {name}, is taken: stop what listens there, or choose another with {setting}."
            raise StartFailed(message) from error


def start(name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Server:
    """Start a server in a process group of its own, its output in `log`. Raises StartFailed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailed(f"{name} cannot be started: {argv[0]}: {error.strerror}") from error
    child.returncode = 0  # it may outlive us: keeps Popen, once dropped, from warning of a process that still runs
    return Server(name, child.pid, psutil.Process(child.pid).create_time(), log)


def await_ready(server: Server, answers: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    """Wait until `answers()`; stop the server where it never does. Raises StartFailed."""
    try:
        _await(server, answers, time.monotonic() + seconds)
    except BaseException:  # an interrupted wait, too, must not leave the server behind
        stop(server)
        raise


def _await(server: Server, answers: Callable[[], bool], deadline: float) -> None:
    while not answers():
        if not running(server):
            raise StartFailed(f"{server.name} ended while starting; its log is {server.log}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{server.name} did not answer in time; its log is {server.log}")
        time.sleep(LOOK_SECONDS)


def accepts(port: int) -> bool:
    """Return whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def running(server: Server) -> bool:
    try:
        process = psutil.Process(server.pid)
        return process.create_time() == server.started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(server: Server, seconds: float = STOP_SECONDS) -> None:
    """Stop the server and its children: SIGTERM, then SIGKILL after `seconds`. One that is gone already is no error."""
    try:
        leader = psutil.Process(server.pid)
        if leader.create_time() != server.started:
            return
        family = [leader, *leader.children(recursive=True)]
        os.killpg(server.pid, signal.SIGTERM)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
    for process in _still_running(family, seconds):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _still_running(family, seconds)


def _still_running(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, and return those that have not. One that nobody has reaped yet has ended."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if not _ended(process)]) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return alive


def _ended(process: psutil.Process) -> bool:
    try:
        if process.status() != psutil.STATUS_ZOMBIE and process.is_running():
            return False
        process.wait(0)  # reaps it, where it is our child; another's is reaped by that other
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return True
    return True
