"""The root's hash tree: the kernel checks each block against it when it reads the block (dm-verity)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.guest.trees import Unpacked

BLOCK: Final = 4096
"""In bytes. mksquashfs pads its images to whole blocks."""


@dataclass(frozen=True, slots=True)
class Verity:
    """The image has `blocks` blocks of data, then the hash tree. `root_hash` covers every byte of the data."""

    blocks: int
    root_hash: str

    @property
    def words(self) -> str:
        """The words for the kernel's command line, which `init` reads."""
        return f"rootblocks={self.blocks} roothash={self.root_hash}"


def append(tools: Unpacked, image: Path) -> Verity:
    """Append the hash tree to an image. It has no salt and no superblock, so nothing in it is random.

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
