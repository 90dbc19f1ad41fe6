"""Checks of the processor and the kernel: KVM, the TDX module, and its keys."""

from pathlib import Path
from typing import Final

from launcher.host.checks.host import Case, Finding, Host
from launcher.host.facts import MISC_CAPACITY, tdx_keys
from launcher.host.hypervisor import QemuMode
from launcher.host.probe import TDX_PARAMETER, TrialImpossible, has_tdx

CPUINFO: Final = Path("/proc/cpuinfo")
FLAG: Final = "tdx_host_platform"
KVM: Final = Path("/dev/kvm")
MISC_CURRENT: Final = MISC_CAPACITY.with_name("misc.current")


def emulation(case: Case) -> Finding:
    runs, why_not = _trial(case.host, QemuMode.TCG)
    return Finding(
        met=runs,
        found=why_not or f"a trial machine {'ran' if runs else 'did not run'} under emulation",
        needed="a QEMU that runs machines",
        to_do="run QEMU by hand and read its output",
    )


def kvm(case: Case) -> Finding:
    """Check with a trial boot, because the device may exist and be unusable."""
    runs, why_not = _trial(case.host, QemuMode.KVM)
    there = case.host.path(KVM).exists()
    found = "a trial machine ran" if runs else f"{KVM} does not run a trial machine" if there else f"no {KVM}"
    return Finding(
        met=runs,
        found=why_not or found,
        needed="a usable KVM",
        to_do="load kvm_intel, switch virtualisation on in the firmware, and give this user /dev/kvm (group kvm)",
    )


def _trial(host: Host, mode: QemuMode) -> tuple[bool, str | None]:
    """Return whether a trial machine ran, and why none could be started."""
    try:
        return host.boots(mode, host.hypervisor), None
    except TrialImpossible as impossible:
        return False, str(impossible).rstrip(".")


def module(case: Case) -> Finding:
    loaded = has_tdx(case.host.path(TDX_PARAMETER))
    value = case.host.text(TDX_PARAMETER).strip()
    return Finding(
        met=loaded,
        found=f"{TDX_PARAMETER} is {value or 'not there'}",
        needed=f"{TDX_PARAMETER} is Y: a TDX host",
        to_do="boot a kernel of 6.16 or later with kvm_intel.tdx=1",
    )


def processor(case: Case) -> Finding:
    flagged = FLAG in case.host.text(CPUINFO).split()
    return Finding(
        met=flagged,
        found=f"{CPUINFO} has {FLAG}" if flagged else f"{CPUINFO} has no {FLAG}",
        needed=f"the flag {FLAG}",
        to_do="switch TDX on in the machine's firmware (TME-MT, TDX, SEAM loader); the processor must have it",
    )


def keys(case: Case) -> Finding:
    capacity, free = tdx_keys(case.host.path(MISC_CAPACITY)), free_keys(case.host)
    return Finding(
        met=free > 0,
        found=f"{free} of {capacity} TDX keys are free",
        needed="one free TDX key a machine",
        to_do="stop a trust domain, or set aside more keys in the machine's firmware (TME-MT/TDX key split)",
    )


def free_keys(host: Host) -> int:
    return tdx_keys(host.path(MISC_CAPACITY)) - tdx_keys(host.path(MISC_CURRENT))
