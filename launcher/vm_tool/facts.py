"""Describes a machine with the keys of libvirt's `dominfo`, which the contract's clients know."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import psutil

from launcher.machines.directory import VmDirectory
from launcher.machines.port import MachineState
from launcher.providers.process.identity import state_of
from launcher.providers.qemu.provider import OWN_MEMORY_MIB
from shared.guest.image import root_hash

AGENT: Final = "agent"
"""The contract's word for a machine that may serve orders."""
KIB: Final = 1024
RUNNING: Final = "running"
SHUT_OFF: Final = "shut off"
UNCLEAR: Final = "no state"
STATES: Final = {MachineState.RUNS: RUNNING, MachineState.UNEXPLAINED: UNCLEAR}

Dominfo = dict[str, str]


class ResourceUse(NamedTuple):
    pid: int
    cpu_seconds: float
    memory_kib: int


def state_word(directory: VmDirectory) -> str:
    """Return libvirt's word for the machine's state."""
    return STATES.get(state_of(directory), SHUT_OFF)


def dominfo(directory: VmDirectory) -> Dominfo:
    """Return libvirt's keys with our values; the use of processor and memory only while it runs."""
    manifest, state = directory.manifest, state_word(directory)
    use = _use(directory) if state == RUNNING else None
    memory_kib = (manifest.resources.memory_mib - OWN_MEMORY_MIB) * KIB
    return {
        "Id": str(use.pid) if use else "-",
        "Name": manifest.vm,
        "UUID": manifest.uuid,
        "OS Type": "hvm",
        "State": state,
        "CPU(s)": str(manifest.resources.vcpus),
        "CPU time": f"{use.cpu_seconds if use else 0:.1f}s",
        "Max memory": f"{memory_kib} KiB",
        "Used memory": f"{use.memory_kib if use else 0} KiB",
        "Persistent": "no",
        "Autostart": "disable",
        "Managed save": "no",
    }


def described(directory: VmDirectory) -> dict[str, object]:
    """Return the description of a new machine, for its operator or a program of the contract."""
    manifest = directory.manifest
    return {
        "name": manifest.vm,
        "uuid": manifest.uuid,
        "mode": AGENT,
        "qemu_mode": manifest.mode,
        "verity": root_hash(_cmdline(manifest.argv)) is not None,
        "serial_log": str(directory.serial_log.resolve()),
        "info": text(dominfo(directory)),
    }


def _cmdline(argv: Sequence[str]) -> str:
    """Return the kernel's command line, which RTMR2 measures."""
    return argv[argv.index("-append") + 1] if "-append" in argv[:-1] else ""


def text(facts: Dominfo) -> str:
    return "\n".join(f"{key + ':':<16}{value}" for key, value in facts.items())


def keyed(facts: Dominfo) -> Dominfo:
    """Return the same with keys in lower case, and underscores for spaces."""
    return {key.lower().replace(" ", "_"): value for key, value in facts.items()}


def _use(directory: VmDirectory) -> ResourceUse | None:
    """Return a machine's use of processor and memory; None if it has just ended."""
    recorded = directory.process()
    if recorded is None:
        return None
    try:
        process = psutil.Process(recorded.pid)
        return ResourceUse(recorded.pid, sum(process.cpu_times()[:2]), process.memory_info().rss // KIB)
    except psutil.NoSuchProcess:
        return None
