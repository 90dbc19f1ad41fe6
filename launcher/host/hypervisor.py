"""QEMU on this host: the files that it needs, and the modes that it runs machines in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

BINARY: Final = "qemu-system-x86_64"
TDX_FIRMWARE: Final = Path("/usr/share/ovmf/OVMF.fd")
"""Where Debian and Ubuntu's package `ovmf` puts it; with TDX it is given by -bios, pflash being unsupported."""
QUOTE_SOCKET: Final = Path("/var/run/tdx-qgs/qgs.socket")
"""Where Intel's quote generation service listens (QEMU, docs/system/i386/tdx.rst)."""


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """`slice` is the systemd slice for machines; None: they stay in their launcher's control group."""

    binary: str = BINARY
    firmware: Path = TDX_FIRMWARE
    quote_socket: Path = QUOTE_SOCKET
    slice: str | None = None


QEMU_HERE: Final = Hypervisor()


class QemuMode(StrEnum):
    """How QEMU runs a machine: emulated, with KVM, or as a trust domain."""

    TCG = "tcg"
    KVM = "kvm"
    TDX = "tdx"


SANDBOX: Final = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""QEMU's filter of system calls, in every machine and trial: whoever breaks out of a guest starts no program and gets no
rights (QEMU, docs/system/security.rst)."""
CPU: Final[Mapping[QemuMode, tuple[str, ...]]] = {
    QemuMode.TCG: ("-accel", "tcg", "-cpu", "max"),
    QemuMode.KVM: ("-accel", "kvm", "-cpu", "host"),
    QemuMode.TDX: ("-accel", "kvm", "-cpu", "host"),
}
"""The accelerator and the CPU of each mode."""
