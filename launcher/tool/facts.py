"""What is said of a machine: the keys of libvirt's `dominfo`, which the contract's clients know."""

from typing import Final

import psutil

from launcher.vm.directory import VmDirectory
from launcher.vm.qemu import OWN_MEMORY_MIB
from launcher.vm.recognition import Trace, trace

AGENT: Final = "agent"
"""What the contract calls a machine that may serve orders."""
KIB: Final = 1024
RUNNING: Final = "running"
SHUT_OFF: Final = "shut off"
UNCLEAR: Final = "no state"
STATES: Final = {Trace.RUNS: RUNNING, Trace.UNEXPLAINED: UNCLEAR}

Dominfo = dict[str, str]


def state_of(directory: VmDirectory) -> str:
    return STATES.get(trace(directory), SHUT_OFF)


def dominfo(directory: VmDirectory) -> Dominfo:
    """Return libvirt's names with ours as values; what runs is told of while it runs."""
    manifest, state = directory.manifest, state_of(directory)
    process = _process(directory) if state == RUNNING else None
    memory_kib = (manifest.resources.memory_mib - OWN_MEMORY_MIB) * KIB
    return {
        "Id": str(process.pid) if process else "-",
        "Name": manifest.vm,
        "UUID": manifest.uuid,
        "OS Type": "hvm",
        "State": state,
        "CPU(s)": str(manifest.resources.vcpus),
        "CPU time": f"{sum(process.cpu_times()[:2]):.1f}s" if process else "0.0s",
        "Max memory": f"{memory_kib} KiB",
        "Used memory": f"{process.memory_info().rss // KIB} KiB" if process else "0 KiB",
        "Persistent": "no",
        "Autostart": "disable",
        "Managed save": "no",
    }


def described(directory: VmDirectory) -> dict[str, object]:
    """Return what a new machine's operator, or a program of the contract's, is told."""
    manifest = directory.manifest
    return {
        "name": manifest.vm,
        "uuid": manifest.uuid,
        "mode": AGENT,
        "qemu_mode": manifest.mode,
        "verity": True,
        "serial_log": str(directory.serial_log.resolve()),
        "info": text(dominfo(directory)),
    }


def text(facts: Dominfo) -> str:
    return "\n".join(f"{key + ':':<16}{value}" for key, value in facts.items())


def keyed(facts: Dominfo) -> Dominfo:
    """Return the same with keys in lower case, their spaces underscores."""
    return {key.lower().replace(" ", "_"): value for key, value in facts.items()}


def _process(directory: VmDirectory) -> psutil.Process | None:
    recorded = directory.process()
    if recorded is None:
        return None
    try:
        return psutil.Process(recorded.pid)
    except psutil.NoSuchProcess:
        return None
