"""This host's resources for machines."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

MIB: Final = 1 << 20
OVERCOMMIT: Final = 2
"""Virtual CPUs for each processor: machines mostly wait for the network."""
MISC_CAPACITY: Final = Path("/sys/fs/cgroup/misc.capacity")
"""The file in which the kernel says how many TDX keys there are: the line `tdx 63`."""


def host_memory_mib() -> int:
    return int(psutil.virtual_memory().total // MIB)


def host_vcpus() -> int:
    return (os.cpu_count() or 1) * OVERCOMMIT


def free_disk_mib(folder: Path) -> int:
    return shutil.disk_usage(folder).free // MIB


def tdx_keys(capacity: Path = MISC_CAPACITY) -> int:
    """Return how many TDs can run at once; 0 if none can."""
    try:
        lines = capacity.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("tdx "))


def own_addresses() -> Iterator[str]:
    """Yield the addresses of this host's interfaces."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family in (socket.AF_INET, socket.AF_INET6):
                yield one.address.partition("%")[0]
