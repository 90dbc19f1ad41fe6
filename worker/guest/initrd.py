"""The guest's initramfs: busybox, the kernel modules that the machine needs, and `init`."""

import gzip
import os
import shutil
from pathlib import Path
from typing import Final

from worker.guest.commands import BuildFailed, run

INIT: Final = Path(__file__).parent / "init"
MODULES: Final = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "squashfs",
    "qemu_fw_cfg",
    "button",
    "evdev",
)
"""In the order in which they must be loaded: no modprobe, no dependency file."""
FOLDERS: Final = ("bin", "dev", "modules", "newroot", "proc", "sys")


def build(kernel: Path, busybox: Path, folder: Path, image: Path) -> None:
    """Assemble the initramfs in `folder` from the unpacked kernel package, and write it as `image`."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    shutil.copyfile(busybox, folder / "bin" / "busybox")
    shutil.copyfile(INIT, folder / "init")
    for number, module in enumerate(MODULES):
        shutil.copyfile(_module(kernel, module), folder / "modules" / f"{number:02}-{module}.ko")
    _pack(folder, image)


def _module(kernel: Path, name: str) -> Path:
    found = next(kernel.glob(f"lib/modules/*/kernel/**/{name}.ko"), None)
    if found is None:
        raise BuildFailed(f"The kernel package has no module {name}.")
    return found


def _pack(folder: Path, image: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
        os.utime(path, (0, 0))
    archive = image.with_suffix(".cpio")
    names = "\n".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*")))
    options = ["--create", "--format=newc", "--reproducible", "--owner=+0:+0", "--quiet", f"--file={archive}"]
    run(["cpio", *options], folder, stdin=names)
    image.write_bytes(gzip.compress(archive.read_bytes(), mtime=0))
    archive.unlink()
