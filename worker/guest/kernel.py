"""The kernel in two forms: packed for firmware to start, and unpacked for QEMU to start itself."""

import shutil
import struct
from pathlib import Path
from typing import Final

from worker.guest.commands import BuildFailed
from worker.guest.trees import Unpacked

FOLDERS: Final = "usr/lib/modules/*"
SETUP_SECTORS: Final = 0x1F1
MAGIC: Final = 0x202
PAYLOAD: Final = 0x248
"""Offsets in the header of a bzImage (Documentation/arch/x86/boot.rst of Linux)."""
SECTOR: Final = 512
ZSTD: Final = b"\x28\xb5\x2f\xfd"
ELF: Final = b"\x7fELF"


def folder(tools: Unpacked) -> Path:
    """Return the folder of the kernel's modules. Raises BuildFailed unless there is exactly one kernel."""
    found = list(tools.folder.glob(FOLDERS))
    if len(found) != 1:
        raise BuildFailed(f"The packages hold {len(found)} kernels; the image needs exactly one.")
    return found[0]


def write(tools: Unpacked, bzimage: Path, vmlinux: Path) -> None:
    """Write both forms. Raises BuildFailed."""
    shutil.copyfile(folder(tools) / "vmlinuz", bzimage)
    packed = vmlinux.with_suffix(".zst")
    packed.write_bytes(_payload(bzimage.read_bytes()))
    tools.run("usr/bin/zstd", "-d", "-q", "--rm", str(packed), "-o", str(vmlinux))
    with vmlinux.open("rb") as file:
        if file.read(len(ELF)) != ELF:
            raise BuildFailed("The kernel's payload is not an ELF file.")


def _payload(image: bytes) -> bytes:
    """Return the compressed kernel in a bzImage, without the four bytes of its size that follow it."""
    if image[MAGIC : MAGIC + 4] != b"HdrS":
        raise BuildFailed("The kernel's vmlinuz is not a bzImage.")
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    start = (image[SETUP_SECTORS] + 1) * SECTOR + offset
    payload = image[start : start + length - 4]
    if not payload.startswith(ZSTD):
        raise BuildFailed("The kernel is not packed with zstd.")
    return payload
