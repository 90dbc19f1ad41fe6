"""What an earlier daemon left: its machines are stopped and their directories removed, before any order is taken."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import structlog
from pydantic import ValidationError

from launcher.vm.directory import VmDirectory, VmProcess, remaining
from launcher.vm.machine import started_at

TERM_SECONDS: Final = 10.0

log = structlog.get_logger()


def clear(state: Path) -> None:
    for directory in remaining(state):
        try:
            _clear(directory)
        except (OSError, ValidationError) as error:
            log.error("a leftover is left alone", vm=directory.manifest.vm, error=type(error).__name__)


def _clear(directory: VmDirectory) -> None:
    """Raises OSError, ValidationError where it cannot be told what runs, or the directory not be removed."""
    process = _find(directory)
    log.info("clearing a leftover", vm=directory.manifest.vm, pid=process and process.pid)
    if process is not None and not _ended(process):
        log.error("a killed machine is still there", vm=directory.manifest.vm, pid=process.pid)
        return
    directory.remove()


def _find(directory: VmDirectory) -> psutil.Process | None:
    """Return the machine's process, where it still runs. One that was not recorded never got to run."""
    recorded = directory.process()
    if recorded is None:
        return None
    try:
        process = psutil.Process(recorded.pid)
        return process if _is_machine(process, directory, recorded) else None
    except (psutil.Error, OSError):
        return None


def _is_machine(process: psutil.Process, directory: VmDirectory, recorded: VmProcess) -> bool:
    """A process id alone may be another's by now; the uuid among the arguments was made for this one machine."""
    started_then = started_at(process.pid) == recorded.started
    return started_then and directory.manifest.uuid in "\0".join(process.cmdline())


def _ended(leader: psutil.Process) -> bool:
    """Stop a process and its children, and return whether they are gone."""
    family = [leader, *leader.children(recursive=True)]
    _send(family, psutil.Process.terminate)
    _, alive = psutil.wait_procs(family, timeout=TERM_SECONDS)
    _send([process for process in alive if _lives(process)], psutil.Process.kill)
    _, alive = psutil.wait_procs(alive, timeout=TERM_SECONDS)
    return not any(_lives(process) for process in alive)


def _lives(process: psutil.Process) -> bool:
    """A process that nobody reaps, as in a container without an init, is as good as gone."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _send(processes: list[psutil.Process], signal: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            signal(process)
        except psutil.NoSuchProcess:
            continue
