"""Finds the mode that QEMU can run in on this host, by a trial boot: /dev/kvm may exist and be unusable."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

from launcher.host.confinement import Confinement, command
from launcher.host.hypervisor import CPU, QEMU_HERE, SANDBOX, Hypervisor, QemuMode
from launcher.host.users import NoUser

TDX_PARAMETER: Final = Path("/sys/module/kvm_intel/parameters/tdx")
TRIAL: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for a machine's uuid, which its user depends on."""
BOOT_SECONDS: Final = 20.0
EXIT_PORT: Final = 0xF4
ROM: Final = bytes(0xFFF0) + bytes.fromhex(
    "ba f400"  # mov dx, 0xf4
    "b0 10"  # mov al, 0x10
    "ee"  # out dx, al
    "f4"  # hlt
).ljust(16, b"\xf4")
"""A firmware of four instructions at the reset vector, the last 16 bytes: the machine itself reports that it ran."""
RAN: Final = 0x10 << 1 | 1
"""QEMU's exit code if its isa-debug-exit device was given 0x10."""


class QemuChoice(StrEnum):
    """The modes that an operator may ask for."""

    AUTO = "auto"
    TCG = "tcg"
    KVM = "kvm"
    TDX = "tdx"


class ModeRefused(Exception):
    """This host cannot run the requested mode; the message says what it lacks."""


class TrialImpossible(Exception):
    """No trial machine can be started on this host now, whatever QEMU could do; the message says why."""


def choose(asked: QemuChoice, kvm_boots: bool, host_has_tdx: bool) -> QemuMode:
    """Return the mode to run in. Raises ModeRefused."""
    if asked is QemuChoice.TCG:
        return QemuMode.TCG
    if asked in (QemuChoice.TDX, QemuChoice.KVM) and not kvm_boots:
        raise ModeRefused(f"Mode {asked} needs a usable KVM: a trial machine did not boot with -accel kvm here.")
    if asked is QemuChoice.TDX and not host_has_tdx:
        advice = "for plain virtual machines set LAUNCHYARD_QEMU_MODE=kvm"
        raise ModeRefused(f"Mode tdx needs a TDX host: {TDX_PARAMETER} is not Y here; {advice}.")
    if not kvm_boots:
        return QemuMode.TCG
    return QemuMode.TDX if host_has_tdx and asked is not QemuChoice.KVM else QemuMode.KVM


def probe(asked: QemuChoice, hypervisor: Hypervisor = QEMU_HERE) -> QemuMode:
    """Examine this host and choose the mode. Raises ModeRefused, TrialImpossible."""
    if asked is QemuChoice.TCG:
        return QemuMode.TCG
    return choose(asked, boots(QemuMode.KVM, hypervisor), has_tdx())


def boots(mode: QemuMode, hypervisor: Hypervisor = QEMU_HERE) -> bool:
    """Return whether a machine with this mode's accelerator and CPU executes instructions here, as machines' user.

    Only a boot proves it: with an unusable /dev/kvm, QEMU may answer by QMP, and abort when it sets up the CPU. Raises
    TrialImpossible.
    """
    binary = shutil.which(hypervisor.binary)
    if binary is None:
        return False
    with _rom() as rom:
        argv = (binary, *SANDBOX, *CPU[mode], "-machine", "q35", "-m", "16M", "-bios", f"/proc/self/fd/{rom}")
        argv = (*argv, "-nodefaults", "-nographic", "-no-reboot")
        argv = (*argv, "-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1")
        try:
            confined = command(Confinement(hypervisor.machine_user(TRIAL)), argv)
            trial = subprocess.run(confined, capture_output=True, timeout=BOOT_SECONDS, check=False, pass_fds=(rom,))
        except subprocess.TimeoutExpired:
            return False
        except NoUser as error:
            raise TrialImpossible(str(error)) from error
        except OSError as error:
            raise TrialImpossible(f"The trial cannot be made: {error.strerror}.") from error
    return trial.returncode == RAN


def why_not_confined(hypervisor: Hypervisor = QEMU_HERE) -> str | None:
    """Confine a process as a machine's is, and return why that fails; None if it does not."""
    try:
        confinement = hypervisor.confinement(TRIAL)
        trial = subprocess.run(command(confinement, ()), capture_output=True, timeout=BOOT_SECONDS, check=False)
    except (NoUser, OSError, subprocess.TimeoutExpired) as error:
        return f"The machine cannot be confined: {error}"
    return trial.stderr.decode(errors="replace").strip() or None if trial.returncode else None


@contextmanager
def _rom() -> Iterator[int]:
    """Yield a descriptor of the firmware, in memory: that needs no writable folder. Raises TrialImpossible."""
    try:
        rom = os.memfd_create("trial.rom")
    except OSError as error:
        raise TrialImpossible(f"The trial cannot be made: {error.strerror}.") from error
    try:
        with open(rom, "wb", closefd=False) as file:
            file.write(ROM)
        yield rom
    finally:
        os.close(rom)


def has_tdx(parameter: Path = TDX_PARAMETER) -> bool:
    try:
        return parameter.read_text().strip() == "Y"
    except OSError:
        return False
