"""Which mode QEMU can run in on this host: found out by really booting, since /dev/kvm may exist and be unusable."""

import json
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import Final

from launcher.vm.argv import Mode

TDX_PARAMETER: Final = Path("/sys/module/kvm_intel/parameters/tdx")
BOOT_SECONDS: Final = 20.0
COMMANDS: Final = "".join(
    json.dumps({"execute": command}) for command in ("qmp_capabilities", "query-status", "quit")
).encode()


class QemuMode(StrEnum):
    """What an operator may ask for."""

    AUTO = "auto"
    TCG = "tcg"
    KVM = "kvm"
    TDX = "tdx"


class ModeRefused(Exception):
    """This host cannot run the mode that was asked for; the message says what it lacks."""


def choose(asked: QemuMode, kvm_boots: bool, host_has_tdx: bool) -> Mode:
    """Return the mode to run in. Raises ModeRefused."""
    if asked is QemuMode.TCG:
        return Mode.TCG
    if asked in (QemuMode.TDX, QemuMode.KVM) and not kvm_boots:
        raise ModeRefused(f"Mode {asked} needs a usable KVM: a trial machine did not boot with -accel kvm here.")
    if asked is QemuMode.TDX and not host_has_tdx:
        raise ModeRefused(f"Mode tdx needs a TDX host: {TDX_PARAMETER} is not Y here.")
    if not kvm_boots:
        return Mode.TCG
    return Mode.TDX if host_has_tdx and asked is not QemuMode.KVM else Mode.KVM


def probe(asked: QemuMode) -> Mode:
    """Look at this host and choose. Raises ModeRefused."""
    if asked is QemuMode.TCG:
        return Mode.TCG
    return choose(asked, boots("kvm"), has_tdx())


def boots(accelerator: str, binary: str = "qemu-system-x86_64") -> bool:
    """Return whether a machine without a disk gets as far as saying, by QMP, that it runs."""
    machine = ("-machine", "q35", "-accel", accelerator, "-cpu", "max", "-m", "16M", "-nodefaults", "-nographic")
    argv = (binary, *machine, "-qmp", "stdio")
    try:
        trial = subprocess.run(argv, input=COMMANDS, capture_output=True, timeout=BOOT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return trial.returncode == 0 and b'"running": true' in trial.stdout


def has_tdx(parameter: Path = TDX_PARAMETER) -> bool:
    try:
        return parameter.read_text().strip() == "Y"
    except OSError:
        return False
