"""Ending all that this process started, as far as /proc knows: what disowned itself is the launcher's to end."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def kill_descendants() -> None:
    """Kill the descendants of this process, and wait for its children."""
    children = _children(os.getpid())
    for member in [member for child in children for member in _stopped(child)]:
        _send(member, signal.SIGKILL)
    for child in children:
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _stopped(pid: int) -> Iterator[int]:
    """Stop each before its children are looked for, lest it start more."""
    _send(pid, signal.SIGSTOP)
    yield pid
    for child in _children(pid):
        yield from _stopped(child)


def _children(parent: int) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _parent(entry) == parent]


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return None


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or is not ours to end
        os.kill(pid, number)
