"""The root's hash tree, which the kernel checks each block against when it reads it (dm-verity)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.guest.trees import Unpacked

BLOCK: Final = 4096
"""Bytes; mksquashfs pads its images to it."""


@dataclass(frozen=True, slots=True)
class Verity:
    """`blocks` of data come first in the image, then the hash tree; `root_hash` stands for every byte of them."""

    blocks: int
    root_hash: str

    @property
    def words(self) -> str:
        """Return what `init` wants to read on the kernel's command line."""
        return f"rootblocks={self.blocks} roothash={self.root_hash}"


def append(tools: Unpacked, image: Path) -> Verity:
    """Append the hash tree to an image. It has no salt and no superblock: nothing in it is random.

    Raises BuildFailed.
    """
    size = image.stat().st_size
    root_hash = image.with_suffix(".roothash")
    tools.run(
        "usr/sbin/veritysetup",
        "format",
        "--no-superblock",
        "--salt=-",
        f"--data-blocks={size // BLOCK}",
        f"--hash-offset={size}",
        f"--root-hash-file={root_hash}",
        str(image),
        str(image),
    )
    verity = Verity(size // BLOCK, root_hash.read_text().strip())
    root_hash.unlink()
    return verity
