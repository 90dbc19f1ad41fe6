"""The one Debian suite that the guest is made of, whatever distribution builds it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

SUITE: Final = "trixie"
BACKPORTS: Final = f"{SUITE}-backports"
PYTHON: Final = "3.13"

KERNEL: Final = "linux-image-cloud-amd64"
"""A meta package: in backports it names the newest kernel. This flavour has virtio, squashfs, dm-verity and TDX."""
KERNEL_PARTS: Final = ("linux-binary-", "linux-modules-")
"""How the names of the packages begin that hold vmlinuz and the modules: nothing else of the kernel is needed."""


class Tree(StrEnum):
    """What packages are unpacked into: the guest's root, and the programs that shape the image, beside the kernel."""

    ROOT = "root"
    TOOLS = "tools"


NAMES: Final[Mapping[Tree, tuple[str, ...]]] = {
    Tree.ROOT: (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "busybox-static"),
    Tree.TOOLS: ("binutils", "busybox-static", "cpio", "cryptsetup-bin", "dmsetup", "squashfs-tools", "zstd"),
}
"""What each tree is asked for; apt adds what these need."""
