"""The machines of launchers on this host, as the process table shows them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
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
    machine itself. `uuid` is None if the process does not show whose it is.
    """

    process: psutil.Process
    uuid: str | None
    path: str | None
    argv: str


def scan(home: Path, is_child: Callable[[Mapping[str, str]], bool]) -> Iterator[MachineProcess]:
    """Yield every machine that works below `home`, and the processes whose environment `is_child` knows.

    Each is yielded whoever its parent is by now; a zombie is not.
    """
    below = re.compile(re.escape(f"{home.resolve()}/") + r"([^\0]*)")
    for process in psutil.process_iter():
        try:
            argv, environment = "\0".join(process.cmdline()), process.environ()
            if not argv or process.status() == psutil.STATUS_ZOMBIE:
                continue
            named, found = ARGUMENT.search(argv), below.search(argv)
            is_machine = named is not None and found is not None
            if not is_machine and not is_child(environment):
                continue
            uuid = environment.get(MARK) or (named[1] if named else _uuid_of_session(process.pid))
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            continue
        path = found[1] if found and is_machine else None
        yield MachineProcess(process, uuid, path, argv.replace("\0", " ")[:300])


def _uuid_of_session(pid: int) -> str | None:
    found = ARGUMENT.search("\0".join(psutil.Process(os.getsid(pid)).cmdline()))
    return found[1] if found else None
