"""When a process started, by which it is known from a later one that has its id."""

from pathlib import Path
from typing import Final

STARTED_FIELD: Final = 19
"""Of /proc/<pid>/stat, counted from behind the program's name: field 22 of proc(5)."""


def started_at(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5)). Raises OSError if there is none.

    psutil's time of day would not do: it changes when the host's clock is set, and the process would not be recognised.
    """
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[STARTED_FIELD])
