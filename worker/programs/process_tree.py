"""Ends the descendants of this process that /proc shows. The launcher ends those that left the process tree."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def kill_descendants() -> None:
    """Kill the descendants of this process, and wait for its children."""
    children = _children(os.getpid())
    for process in [process for child in children for process in _stopped(child)]:
        _send(process, signal.SIGKILL)
    for child in children:
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _stopped(pid: int) -> Iterator[int]:
    """Yield a process and its descendants. Stop each one first, so that it cannot start more."""
    _send(pid, signal.SIGSTOP)
    yield pid
    for child in _children(pid):
        yield from _stopped(child)


def _children(parent: int) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _parent(entry) == parent]


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return None


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or runs as another user
        os.kill(pid, number)
