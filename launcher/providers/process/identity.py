"""Identifies a machine's processes: its main one by pid, start time and arguments, all of them by a mark.

The pid alone is not enough: the kernel may give it to another process once the machine's has ended.
"""

import errno
import os
import select
import signal
import time
from pathlib import Path
from typing import Final

import psutil

from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachineState
from launcher.machines.start_times import started_at

MARK: Final = "LAUNCHYARD_VM"
"""The environment variable with the machine's uuid, which all processes that the machine starts inherit."""
UUID_OPTION: Final = "-uuid"
"""The option by which a machine's QEMU gets the machine's uuid."""
ENDED: Final = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
ARGUMENTS_SECONDS: Final = 10.0
"""How long a process may show no arguments before it is unexplained: a large one takes a while to free its memory."""
POLL_SECONDS: Final = 0.01
LAYOUT_SECONDS: Final = 1.0
"""How long a process that starts a program may show no environment before it counts as one that has none."""
KILLED_SECONDS: Final = 10.0
"""How long to wait for a killed process before the marked ones are listed again."""


def state_of(directory: VmDirectory) -> MachineState:
    """Return the state of the directory's process. Raises OSError, ValidationError if it is unknown."""
    recorded = directory.process()
    if recorded is None:
        return MachineState.NEVER_RAN
    deadline = time.monotonic() + ARGUMENTS_SECONDS
    try:
        while started_at(recorded.pid) == recorded.started:
            process = psutil.Process(recorded.pid)
            if process.status() in ENDED:
                return MachineState.ENDED
            if arguments := process.cmdline():
                names_it = any(directory.manifest.uuid in argument for argument in arguments)
                return MachineState.RUNS if names_it else MachineState.UNEXPLAINED
            if time.monotonic() > deadline:
                return MachineState.UNEXPLAINED
            time.sleep(POLL_SECONDS)  # it has no arguments for a moment when its program starts and when it ends
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return MachineState.ENDED
    except psutil.AccessDenied as error:
        raise PermissionError(errno.EACCES, "The process cannot be read", str(recorded.pid)) from error
    return MachineState.ENDED


def end_stragglers(uuid: str) -> None:
    """Kill all processes of a machine that still run; return once they are gone.

    It finds them by the mark, which is exact: once the machine's main process is reaped, another group may get its
    group's id.
    """
    while pids := marked(uuid):
        for pid in pids:
            _kill(pid, uuid)


def marked(uuid: str) -> list[int]:
    """Return the processes that carry a machine's mark, as far as this user may read them."""
    return [pid for pid in psutil.pids() if _is_marked(pid, uuid)]


def ended_within(pidfd: int, seconds: float) -> bool:
    """Wait up to `seconds` for the end of a process; return whether it came."""
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    return bool(ended.poll(max(seconds, 0) * 1000))


def _kill(pid: int, uuid: str) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_marked(pid, uuid):  # asked again: only now is the descriptor certain to be that process's
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            ended_within(pidfd, KILLED_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _is_marked(pid: int, uuid: str) -> bool:
    """Return whether a process carries the mark. psutil's `environ` would not do: it ends at the first empty entry.

    A launcher that is root without CAP_SYS_PTRACE may not read the environment of a QEMU that has another user: that
    one is known by its arguments, and starts no other process (SANDBOX).
    """
    process = Path(f"/proc/{pid}")
    try:
        return f"{MARK}={uuid}".encode() in _environment(process).split(b"\0")
    except PermissionError:
        return os.geteuid() == 0 and _is_given(process, uuid)
    except OSError:  # it has ended
        return False


def _environment(process: Path) -> bytes:
    """Read a process's environment. Raises OSError.

    While a process starts a program, the kernel closes the descriptors, by which subprocess.Popen knows that it has
    started, before it lays out the arguments and the environment.
    """
    deadline = time.monotonic() + LAYOUT_SECONDS
    while not (environment := (process / "environ").read_bytes()):
        if not _starts_a_program(process) or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return environment


def _starts_a_program(process: Path) -> bool:
    """Return whether a process has memory, but no arguments yet. A zombie and a thread of the kernel have no memory."""
    try:
        (process / "exe").readlink()
        return not (process / "cmdline").read_bytes()
    except OSError:
        return False


def _is_given(process: Path, uuid: str) -> bool:
    try:
        return f"\0{UUID_OPTION}\0{uuid}\0".encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
