"""Whose process is this? A machine's is known by its number, its start time and its uuid together, not by one."""

import os
import select
import signal
import time
from pathlib import Path
from typing import Final

from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachineState

PROC: Final = Path("/proc")
MARK: Final = "LAUNCHYARD_VM"
"""In the environment of a machine's process, and so of all that it starts: the machine's uuid."""
STATE_FIELD, STARTED_FIELD = 0, 19
"""Of /proc/<pid>/stat, counted from behind the program's name: fields 3 and 22 of proc(5)."""
ARGUMENTS_SECONDS: Final = 10.0
"""How long a process may show no arguments before that is strange: a large one takes a while to give back memory."""
LOOK_SECONDS: Final = 0.01
KILLED_SECONDS: Final = 10.0
"""How long a killed process is waited for before it is looked for again."""


def state_of(directory: VmDirectory) -> MachineState:
    """Raises OSError, ValidationError where the record cannot be read."""
    recorded = directory.process()
    if recorded is None:
        return MachineState.NEVER_RAN
    deadline = time.monotonic() + ARGUMENTS_SECONDS
    try:
        while started_at(recorded.pid) == recorded.started and not _is_zombie(recorded.pid):
            if arguments := _read(recorded.pid, "cmdline"):
                return MachineState.RUNS if directory.manifest.uuid.encode() in arguments else MachineState.UNEXPLAINED
            if time.monotonic() > deadline:
                return MachineState.UNEXPLAINED
            time.sleep(LOOK_SECONDS)  # it has none for a moment, when its program starts and when it ends
    except (FileNotFoundError, ProcessLookupError):
        return MachineState.ENDED
    return MachineState.ENDED


def started_at(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5)). Raises OSError where there is none.

    Ticks, not a time of day: those move when the host's clock is set, and a machine would not be known again.
    """
    return int(_stat(pid)[STARTED_FIELD])


def end_stragglers(uuid: str) -> None:
    """Kill whatever still runs of a machine; return when nothing does.

    By the mark in the environment, which says it exactly: a process group's number may be another's once the machine's
    own process is reaped.
    """
    while pids := marked(uuid):
        for pid in pids:
            _kill(pid, _mark(uuid))


def marked(uuid: str) -> list[int]:
    """Return the processes that carry a machine's mark, as far as this user may look at them."""
    return [pid for pid in _pids() if _is_marked(pid, _mark(uuid))]


def _kill(pid: int, mark: bytes) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_marked(pid, mark):  # asked again: only now is the descriptor certain to be that process's
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            ended_within(pidfd, KILLED_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def ended_within(pidfd: int, seconds: float) -> bool:
    """Wait up to `seconds` for the end of a process; return whether it came."""
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    return bool(ended.poll(max(seconds, 0) * 1000))


def _mark(uuid: str) -> bytes:
    return f"{MARK}={uuid}".encode()


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        return mark in _read(pid, "environ").split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[STATE_FIELD] in ("Z", "X")


def _stat(pid: int) -> list[str]:
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _read(pid: int, name: str) -> bytes:
    return (PROC / str(pid) / name).read_bytes()
