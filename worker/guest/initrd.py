"""The guest's initramfs: busybox, dmsetup, the kernel modules that the machine needs, and `init`."""

import lzma
import os
import shutil
from pathlib import Path
from typing import Final

from worker.guest import kernel
from worker.guest.commands import BuildFailed
from worker.guest.trees import LIBRARIES, LOADER, Unpacked

INIT: Final = Path(__file__).parent / "init"
MODULES: Final = (
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "dm-mod",
    "dm-bufio",
    "reed_solomon",
    "dm-verity",
    "squashfs",
    "qemu_fw_cfg",
    "button",
    "evdev",
    "configfs",
    "tsm_report",
    "tdx-guest",
)
"""In loading order: there is no modprobe, and no dependency file. The virtio core is built in.

A trust domain needs the last three for quotes and for its registers. Outside one, tdx-guest finds no device.
"""
FOLDERS: Final = ("bin", "dev", "lib/x86_64-linux-gnu", "lib64", "modules", "newroot", "proc", "sys")
PROGRAMS: Final = ("usr/bin/busybox", "usr/sbin/dmsetup")


def build(tools: Unpacked, folder: Path, image: Path) -> None:
    """Assemble the initramfs in `folder`, and write it as `image`. Raises BuildFailed."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for program in PROGRAMS:
        shutil.copy(tools.folder / program, folder / "bin")
    for library in tools.libraries("usr/sbin/dmsetup"):
        shutil.copyfile(library, folder / LIBRARIES.removeprefix("usr/") / library.name)
    shutil.copyfile(tools.folder / LOADER, folder / LOADER.removeprefix("usr/"))
    shutil.copyfile(INIT, folder / "init")
    for number, module in enumerate(MODULES):
        _add_module(tools, module, folder / "modules" / f"{number:02}-{module}.ko")
    _pack(tools, folder, image)


def _add_module(tools: Unpacked, name: str, target: Path) -> None:
    """Write a module unpacked, which saves busybox seconds, and without its signature, which takes 25 ms to check.

    The initramfs is measured as a whole, so the signature would prove nothing more.
    """
    found = next(kernel.folder(tools).glob(f"kernel/**/{name}.ko.xz"), None)
    if found is None:
        raise BuildFailed(f"The kernel's packages have no module {name}.")
    target.write_bytes(lzma.decompress(found.read_bytes()))
    tools.run("usr/bin/strip", "--strip-debug", str(target))


def _pack(tools: Unpacked, folder: Path, image: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
        os.utime(path, (0, 0))
    archive = image.with_suffix(".cpio")
    names = "\n".join(sorted(str(path.relative_to(folder)) for path in folder.rglob("*")))
    options = ["--create", "--format=newc", "--reproducible", "--owner=+0:+0", "--quiet", f"--file={archive}"]
    tools.run("usr/bin/cpio", *options, folder=folder, stdin=names)
    tools.run("usr/bin/zstd", "-q", "-19", "--single-thread", "--rm", str(archive), "-o", str(image))
