"""Starts servers as child processes, waits until they answer, and stops exactly what it started."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import psutil
from pydantic import TypeAdapter

from launcher.machines.private import make_folder, opener
from launcher.machines.start_times import started_at

LOOPBACK: Final = "127.0.0.1"
LOCAL_HOSTS: Final = ("localhost", LOOPBACK)
READY_SECONDS: Final = 180.0
"""Long, for a busy machine: a server that ends while starting is reported at once."""
POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 60.0
"""Longer than a launcher waits for answers that are under way."""


class StartFailed(Exception):
    """A server did not start. The message says which one, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: the leader of its own session, identified by process id and start time."""

    name: str
    pid: int
    ticks: int
    """When it started, in clock ticks since boot: a time of day would change when the clock is set."""
    log: Path


SERVER: Final = TypeAdapter(Server)
STARTED: Final = "started.jsonl"
"""The name of a file beside the logs: one line for each server, written as soon as its process exists."""


def start(name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Server:
    """Start a server in its own session, with its output in `log`, and record it in STARTED. Raises StartFailed."""
    try:
        pid = spawn(argv, log, {**os.environ, **unproxied(os.environ), **(environment or {})})
    except OSError as error:
        raise StartFailed(f"{name} cannot be started: {error.filename or argv[0]}: {error.strerror}") from error
    ticks = _started_at(pid)
    if ticks is None:
        raise StartFailed(f"{name} ended while starting; its log is {log}")
    server = Server(name, pid, ticks, log)
    record(server)
    return server


def spawn(argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """Start a program with these variables only, in its own session, with its output in `log`; return its process id.

    Raises OSError.
    """
    make_folder(log.parent)
    with open(log, "ab", opener=opener) as out:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    child.returncode = 0  # it may outlive us: without this, Popen warns about a process that still runs
    return child.pid


def record(server: Server) -> None:
    """Record a server beside its log, so that `down` stops it."""
    with open(server.log.parent / STARTED, "ab", opener=opener) as records:
        records.write(SERVER.dump_json(server) + b"\n")


def unproxied(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep libraries (gRPC's, Google's) from calling the stack's servers through a proxy."""
    excepted = {name: environment.get(name, "") for name in ("NO_PROXY", "no_proxy")}
    return {name: ",".join(filter(None, (value, *LOCAL_HOSTS))) for name, value in excepted.items()}


def await_ready(server: Server, answers: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    """Wait until `answers()` is true. Stop the server if that takes too long. Raises StartFailed."""
    try:
        _await(server, answers, time.monotonic() + seconds)
    except BaseException:  # an interrupted wait must not leave the server behind, either
        stop(server)
        raise


def _await(server: Server, answers: Callable[[], bool], deadline: float) -> None:
    while not answers():
        if not running(server):
            raise StartFailed(f"{server.name} ended while starting; its log is {server.log}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{server.name} did not answer in time; its log is {server.log}")
        time.sleep(POLL_SECONDS)


def answers_ok(port: int, path: str, seconds: float) -> bool:
    """Return whether a GET of the loopback port's path is answered with 200 within `seconds`.

    A wait asks many times. An httpx client would read all certificate authorities each time, which takes longer.
    """
    connection = HTTPConnection(LOOPBACK, port, timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def accepts(port: int) -> bool:
    """Return whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def running(server: Server) -> bool:
    """Return whether the server itself runs. Processes that it started may run on without it."""
    if _started_at(server.pid) != server.ticks:
        return False  # it has ended; another process may have its id now
    try:
        return not _ended(psutil.Process(server.pid))
    except psutil.NoSuchProcess:
        return False


def family(server: Server) -> list[psutil.Process]:
    """Return the running processes of the server's session, which outlives its leader.

    Processes that it started in their own sessions, such as a launcher's machines, are meant to outlive it.
    """
    if _started_at(server.pid) not in (None, server.ticks):
        return []  # another process has this id now, so the session has ended
    session = [process for process in psutil.process_iter() if _session(process) == server.pid]
    return [process for process in session if not _ended(process)]


def stop(server: Server, seconds: float = STOP_SECONDS) -> None:
    """Stop the server: send SIGTERM to its session and, after `seconds`, SIGKILL to the rest.

    What this user may not stop runs on: `family` lists it.
    """
    alive = family(server)
    for process in alive:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.terminate()
    for process in _still_running(alive, seconds):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()
    _still_running(alive, seconds)


def _started_at(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if there is no such process."""
    try:
        return started_at(pid)
    except OSError:
        return None


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def _still_running(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, and return those that have not. A zombie has ended."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if not _ended(process)]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return alive


def _ended(process: psutil.Process) -> bool:
    try:
        if process.status() != psutil.STATUS_ZOMBIE and process.is_running():
            return False
        process.wait(0)  # reaps our own child; other parents reap theirs
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return True
    return True
