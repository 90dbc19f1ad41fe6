"""The machines of launchers on this host, as the process table shows them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

ARGUMENT: Final = re.compile(r"launchyard\.vm=([0-9a-f-]{36})")
MARK: Final = "LAUNCHYARD_VM"
"""In the environment of a machine's process, and of every process that it started: the machine's uuid."""


@dataclass(frozen=True, slots=True)
class MachineProcess:
    """A process of a machine, or one that a machine's task started.

    `path` is where the machine works, relative to the folder that was scanned; it is None if the process is not the
    machine itself, but one that it made. `uuid` is None if the process does not show whose it is.
    """

    process: psutil.Process
    uuid: str | None
    path: str | None
    argv: str


def scan(home: Path, variable: str, value: str | None = None) -> Iterator[MachineProcess]:
    """Yield every machine that works below `home`, and the processes that have the variable in their environment, with
    this value if one is given.

    Each is yielded whoever its parent is by now; a zombie is not.
    """
    below = re.compile(re.escape(f"{home.resolve()}/") + r"([^\0]*)")
    of_child = f"\0{variable}=" + ("" if value is None else f"{value}\0")
    for pid in psutil.pids():
        try:
            argv, environment = _read(pid, "cmdline"), "\0" + _read(pid, "environ")
            named, found = ARGUMENT.search(argv), below.search(argv)
            is_machine = named is not None and found is not None
            if not argv or not (is_machine or of_child in environment):
                continue
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            marked = re.search(rf"\0{MARK}=([^\0]+)\0", environment) or named
            uuid = marked[1] if marked else _uuid_of_session(pid)
            is_machine = is_machine and not _is_copy(process, argv)
        except (psutil.NoSuchProcess, OSError):  # it has ended, or is another user's
            continue
        yield MachineProcess(process, uuid, found[1] if found and is_machine else None, argv.replace("\0", " ")[:300])


def _read(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        return file.readall().decode(errors="replace")


def _is_copy(process: psutil.Process, argv: str) -> bool:
    """Return whether a machine's process made this one, which shows its arguments until it runs a program."""
    try:
        return _read(process.ppid(), "cmdline") == argv
    except FileNotFoundError:  # its parent, a launcher, has ended since
        return False


def _uuid_of_session(pid: int) -> str | None:
    found = ARGUMENT.search(_read(os.getsid(pid), "cmdline"))
    return found[1] if found else None
