"""This process's peak of memory."""

import math
from pathlib import Path
from typing import Final

STATUS: Final = Path("/proc/self/status")
PEAK: Final = "VmHWM:"
KIB_PER_MIB: Final = 1024


def peak_mib() -> int:
    """Return the largest resident set so far, in MiB (proc_pid_status(5)).

    `getrusage` would not do: its peak is at least that of the process that started this one.
    """
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(PEAK))
    return math.ceil(int(line.split()[1]) / KIB_PER_MIB)
