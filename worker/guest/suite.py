"""The Debian suite of the guest, whatever distribution builds it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

SUITE: Final = "trixie"
BACKPORTS: Final = f"{SUITE}-backports"
PYTHON: Final = "3.13"

KERNEL: Final = "linux-image-cloud-amd64"
"""A meta package: in backports it names the newest kernel. This flavour has virtio, squashfs, dm-verity and TDX."""
KERNEL_PACKAGES: Final = ("linux-binary-", "linux-modules-")
"""The first words of the names of the packages with vmlinuz and the modules. Nothing else of the kernel is needed."""


class Tree(StrEnum):
    """Where packages are unpacked: the guest's root, or the programs that build the image, and the kernel."""

    ROOT = "root"
    TOOLS = "tools"


NAMES: Final[Mapping[Tree, tuple[str, ...]]] = {
    Tree.ROOT: (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "busybox-static"),
    Tree.TOOLS: ("binutils", "busybox-static", "cpio", "cryptsetup-bin", "dmsetup", "squashfs-tools", "zstd"),
}
"""The packages of each tree. apt adds their dependencies."""
