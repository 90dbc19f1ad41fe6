"""QEMU's arguments for one guest. The modes differ in accelerator, CPU, machine properties, firmware and TDX object."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.host.confinement import PassedFile
from launcher.host.hypervisor import CPU, QEMU_HERE, SANDBOX, Hypervisor, QemuMode
from launcher.machines.bounded_log import CONSOLE
from launcher.machines.directory import CONFIG, DATA_DISK, QMP_SOCKET
from launcher.providers.process.identity import UUID_OPTION
from shared.guest.image import ImageFile, ImageManifest

FW_CFG: Final = "opt/launchyard/config.json"
"""The guest reads it below /sys/firmware/qemu_fw_cfg/by_name/. Host-readable, like every channel into a guest."""
DATA_SERIAL: Final = "data"
"""The guest finds its data disk by it: /dev/disk/by-id/virtio-data if udev runs, or /sys/block/vdb/serial."""
KERNEL, INITRD, ROOT, CONFIGURATION, DATA, MONITOR = range(10, 16)
"""The descriptors of QEMU's files; CONSOLE is one more."""
GPU_MMIO_MIB: Final = 262_144
"""The room that the firmware reserves for a GPU's 64-bit BARs: an H100 needs 128 GiB, and the default is far less.

By edk2's fw_cfg file opt/ovmf/X-PciMmio64Mb (OvmfPkg, MemDetect.c).
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """`config_digest` is the SHA-384 of the worker's configuration, which a TD carries as MRCONFIGID.

    `gpus` are PCI addresses of this host's that go to the guest; `disk_mib` is its data disk, 0 for none.
    """

    uuid: str
    manifest: ImageManifest
    memory_mib: int
    vcpus: int
    config_digest: bytes
    disk_mib: int = 0
    gpus: tuple[str, ...] = ()


def build(mode: QemuMode, guest: Guest, hypervisor: Hypervisor = QEMU_HERE) -> tuple[str, ...]:
    """Return the argv. QEMU gets its files by descriptor, because its user may not read the launcher's folders."""
    manifest = guest.manifest
    return (
        hypervisor.binary,
        *(UUID_OPTION, guest.uuid),
        *("-nodefaults", "-nographic", "-no-reboot", "-no-user-config"),
        *SANDBOX,
        *("-vga", "none"),
        *_processor(mode, guest, hypervisor),
        *("-m", f"{guest.memory_mib}M"),
        *("-smp", str(guest.vcpus)),
        *("-kernel", _reopened(KERNEL), "-initrd", _reopened(INITRD), "-append", manifest.cmdline),
        *_root_disk(),
        *_data_disk(guest),
        *("-netdev", "user,id=net"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *_gpus(guest.gpus),
        *("-fw_cfg", f"name={FW_CFG},file={_reopened(CONFIGURATION)}"),
        *_given(CONSOLE),
        *("-chardev", f"file,id=serial,path={_duplicate(CONSOLE)},append=on"),
        *("-serial", "chardev:serial"),
        *("-chardev", f"socket,id=qmp,fd={MONITOR},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
    )


def files(mode: QemuMode, image: Path, manifest: ImageManifest, has_data_disk: bool) -> tuple[PassedFile, ...]:
    """Return the files that QEMU's arguments name by descriptor. Those of the machine are relative to its directory."""
    return (
        PassedFile(KERNEL, str(image / _kernel(mode, manifest).name)),
        PassedFile(INITRD, str(image / manifest.initrd.name)),
        PassedFile(ROOT, str(image / manifest.root.name)),
        PassedFile(CONFIGURATION, CONFIG, "copy"),
        PassedFile(MONITOR, QMP_SOCKET, "listen"),
        *((PassedFile(DATA, DATA_DISK, "write"),) if has_data_disk else ()),
    )


def _reopened(descriptor: int) -> str:
    """Return the path by which QEMU opens its descriptor's file anew, which the file's mode must allow."""
    return f"/proc/self/fd/{descriptor}"


def _duplicate(descriptor: int) -> str:
    """Return the path by which QEMU uses a descriptor as it is (`_given`), whatever the file's mode."""
    return f"/dev/fdset/{descriptor}"


def _given(descriptor: int) -> tuple[str, ...]:
    return ("-add-fd", f"fd={descriptor},set={descriptor}")


def _kernel(mode: QemuMode, manifest: ImageManifest) -> ImageFile:
    """Return the kernel's arguments: a firmware starts the packed kernel, QEMU itself the unpacked one (PVH)."""
    return manifest.kernel if mode is QemuMode.TDX else manifest.unpacked_kernel


def _processor(mode: QemuMode, guest: Guest, hypervisor: Hypervisor) -> tuple[str, ...]:
    if mode is not QemuMode.TDX:
        return ("-machine", "q35", *CPU[mode])
    td = {
        "qom-type": "tdx-guest",
        "id": "tdx",
        "mrconfigid": base64.b64encode(guest.config_digest).decode(),
        "quote-generation-socket": {"type": "unix", "path": str(hypervisor.quote_socket)},
    }
    machine = "q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off"
    return ("-object", _json(td), "-machine", machine, *CPU[mode], "-bios", str(hypervisor.firmware))


def _root_disk() -> tuple[str, ...]:
    """The first disk, /dev/vda in the guest."""
    file = {"driver": "file", "filename": _duplicate(ROOT), "read-only": True}
    disk = {"driver": "raw", "node-name": "root", "read-only": True, "file": file}
    return (*_given(ROOT), "-blockdev", _json(disk), "-device", "virtio-blk-pci,drive=root")


def _data_disk(guest: Guest) -> tuple[str, ...]:
    """What the guest discards is freed on the host: the file is sparse."""
    if not guest.disk_mib:
        return ()
    file = {"driver": "file", "filename": _duplicate(DATA), "discard": "unmap"}
    disk = {"driver": "raw", "node-name": "data", "discard": "unmap", "file": file}
    return (*_given(DATA), "-blockdev", _json(disk), "-device", f"virtio-blk-pci,drive=data,serial={DATA_SERIAL}")


def _gpus(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Each GPU below a root port of its own, through one iommufd (QEMU, docs/devel/vfio-iommufd.rst)."""
    if not addresses:
        return ()
    devices: list[str] = ["-object", "iommufd,id=iommufd0"]
    for number, address in enumerate(addresses, 1):
        devices += ["-device", f"pcie-root-port,id=gpu{number},bus=pcie.0,chassis={number}"]
        devices += ["-device", f"vfio-pci,host={address},bus=gpu{number},iommufd=iommufd0"]
    return (*devices, "-fw_cfg", f"name=opt/ovmf/X-PciMmio64Mb,string={GPU_MMIO_MIB * len(addresses)}")


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))
