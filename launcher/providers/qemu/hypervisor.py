"""QEMU as it is installed on a host, and what it needs beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

BINARY: Final = "qemu-system-x86_64"
TDX_FIRMWARE: Final = Path("/usr/share/ovmf/OVMF.fd")
"""Where Debian and Ubuntu's package `ovmf` puts it; with TDX it is given by -bios, pflash being unsupported."""
QUOTE_SOCKET: Final = Path("/var/run/tdx-qgs/qgs.socket")
"""Where Intel's quote generation service listens (QEMU, docs/system/i386/tdx.rst)."""


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """`slice` is the systemd slice that machines are put in; None where they stay in their launcher's control group."""

    binary: str = BINARY
    firmware: Path = TDX_FIRMWARE
    quote_socket: Path = QUOTE_SOCKET
    slice: str | None = None
