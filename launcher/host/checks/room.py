"""Checks of memory, processors and disk against the node sizes."""

from collections.abc import Callable
from pathlib import Path

from launcher.host.checks.host import Case, Finding, Needs
from launcher.host.facts import free_disk_mib


def memory(case: Case) -> Finding:
    return _against(case, lambda takes: takes.memory_mib, case.memory_mib, "MiB of memory")


def processors(case: Case) -> Finding:
    return _against(case, lambda takes: takes.vcpus, case.vcpus, "virtual CPUs")


def disk(case: Case) -> Finding:
    free = free_disk_mib(_existing(case.state))
    return _against(case, lambda takes: takes.disk_mib, free, f"MiB free below {case.state}")


def _against(case: Case, figure: Callable[[Needs], int], has: int, unit: str) -> Finding:
    """Check that at least one size fits: the operator decides which sizes a host serves."""
    figures = {name: figure(takes) for name, takes in case.sizes.items()}
    fitting = [name for name, needs in figures.items() if needs <= has]
    too_large = [name for name in figures if name not in fitting]
    found = f"{has} {unit}: enough for {', '.join(fitting) or 'no size'}"
    return Finding(
        met=bool(fitting),
        found=f"{found}, not for {', '.join(too_large)}" if fitting and too_large else found,
        needed=", ".join(f"{needs} for {name}" for name, needs in figures.items()),
        to_do="make room, or make a size smaller (LAUNCHYARD_TINY_MEMORY_MIB, _VCPUS or _DISK_MIB)",
    )


def _existing(path: Path) -> Path:
    """Return the folder itself, or its nearest parent that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
