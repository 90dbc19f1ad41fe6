"""QEMU on this host: the files that it needs, and the modes that it runs machines in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from launcher.host.confinement import Confinement, PassedFile, Reach, User
from launcher.host.guest_network import PROXY, Enforcement, GuestNetwork, reaches_loopback
from launcher.host.users import user_of
from shared.address import LOOPBACK_GATEWAY

BINARY: Final = "qemu-system-x86_64"
TDX_FIRMWARE: Final = Path("/usr/share/ovmf/OVMF.fd")
"""Where Debian and Ubuntu's package `ovmf` puts it; with TDX it is given by -bios, pflash being unsupported."""
QUOTE_SOCKET: Final = Path("/var/run/tdx-qgs/qgs.socket")
"""Where Intel's quote generation service listens (QEMU, docs/system/i386/tdx.rst)."""


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """`slice` is the systemd slice for machines; None: they stay in their launcher's control group.

    `network` and `reach` say what machines reach. `user` is the user of all machines if the launcher is root; None:
    each has one of its own.
    """

    binary: str = BINARY
    firmware: Path = TDX_FIRMWARE
    quote_socket: Path = QUOTE_SOCKET
    slice: str | None = None
    network: GuestNetwork = GuestNetwork.CONFINED
    reach: Reach = field(default_factory=Reach)
    user: int | None = None

    @property
    def enforcement(self) -> Enforcement:
        if self.network is GuestNetwork.OPEN:
            return Enforcement.NOTHING
        return Enforcement.NAMESPACE if self.slice is None else Enforcement.SLICE

    @property
    def loopback_gateway(self) -> str | None:
        """Return the address by which machines reach this host's loopback; None if nothing of it is allowed."""
        return LOOPBACK_GATEWAY if reaches_loopback(self.reach) else None

    @property
    def proxy(self) -> str | None:
        """Return the address of the HTTP proxy of machines in a network of their own."""
        return PROXY if self.enforcement is Enforcement.NAMESPACE else None

    def machine_user(self, uuid: str) -> User | None:
        """Return the user of a machine's process; None if it is its launcher's. Raises NoUser."""
        return user_of(uuid, self.user, self.quote_socket)

    def confinement(self, uuid: str, files: tuple[PassedFile, ...] = ()) -> Confinement:
        """Return what confines the machine's process. Raises NoUser."""
        confined = self.enforcement is Enforcement.NAMESPACE
        return Confinement(self.machine_user(uuid), self.reach if confined else None, files)


QEMU_HERE: Final = Hypervisor()


class QemuMode(StrEnum):
    """How QEMU runs a machine: emulated, with KVM, or as a trust domain."""

    TCG = "tcg"
    KVM = "kvm"
    TDX = "tdx"


SANDBOX: Final = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""QEMU's filter of system calls, for machines and trials: whoever breaks out of a guest starts no program, and gets no
rights (QEMU, docs/system/security.rst)."""
CPU: Final[Mapping[QemuMode, tuple[str, ...]]] = {
    QemuMode.TCG: ("-accel", "tcg", "-cpu", "max"),
    QemuMode.KVM: ("-accel", "kvm", "-cpu", "host"),
    QemuMode.TDX: ("-accel", "kvm", "-cpu", "host"),
}
"""The accelerator and the CPU of each mode."""
