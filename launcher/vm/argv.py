"""QEMU's arguments for one guest. The modes differ in accelerator, CPU, machine properties, firmware and TDX object."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from launcher.vm.directory import CONFIG, QMP_SOCKET, SERIAL_LOG
from shared.image import ImageManifest

FW_CFG: Final = "opt/launchyard/config.json"
"""The guest reads it below /sys/firmware/qemu_fw_cfg/by_name/. Host-readable, like every channel into a guest."""
TDX_FIRMWARE: Final = "/usr/share/ovmf/OVMF.fd"
"""Where Debian and Ubuntu's package `ovmf` puts it; with TDX it is given by -bios, pflash being unsupported."""
QUOTE_SOCKET: Final = "/var/run/tdx-qgs/qgs.socket"
"""Where Intel's quote generation service listens (QEMU, docs/system/i386/tdx.rst)."""


class Mode(StrEnum):
    TCG = "tcg"
    KVM = "kvm"
    TDX = "tdx"


CPU: Final[Mapping[Mode, tuple[str, ...]]] = {
    Mode.TCG: ("-accel", "tcg", "-cpu", "max"),
    Mode.KVM: ("-accel", "kvm", "-cpu", "host"),
    Mode.TDX: ("-accel", "kvm", "-cpu", "host"),
}


@dataclass(frozen=True, slots=True)
class Guest:
    """`config_digest` is the SHA-384 of the worker's configuration, which a TD carries as MRCONFIGID."""

    uuid: str
    image: Path
    manifest: ImageManifest
    memory_mib: int
    vcpus: int
    config_digest: bytes


def build(mode: Mode, guest: Guest, binary: str = "qemu-system-x86_64") -> tuple[str, ...]:
    """Return the argv, its own files named relative to the machine's directory, where QEMU is to be started."""
    image, manifest = guest.image, guest.manifest
    root = {
        "driver": "raw",
        "node-name": "root",
        "read-only": True,
        "file": {"driver": "file", "filename": str(image / manifest.root.name), "read-only": True},
    }
    return (
        binary,
        *("-uuid", guest.uuid),
        *("-nodefaults", "-nographic", "-no-reboot", "-no-user-config"),
        *("-vga", "none"),
        *_processor(mode, guest),
        *("-m", f"{guest.memory_mib}M"),
        *("-smp", str(guest.vcpus)),
        *("-kernel", str(image / manifest.kernel.name)),
        *("-initrd", str(image / manifest.initrd.name)),
        *("-append", manifest.cmdline),
        *("-blockdev", _json(root)),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-netdev", "user,id=net"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-fw_cfg", f"name={FW_CFG},file={CONFIG}"),
        *("-chardev", f"file,id=serial,path={SERIAL_LOG},append=on"),
        *("-serial", "chardev:serial"),
        *("-chardev", f"socket,id=qmp,path={QMP_SOCKET},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
    )


def _processor(mode: Mode, guest: Guest) -> tuple[str, ...]:
    if mode is not Mode.TDX:
        return ("-machine", "q35", *CPU[mode])
    machine = "q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off"
    return ("-object", _json(_tdx_guest(guest)), "-machine", machine, *CPU[mode], "-bios", TDX_FIRMWARE)


def _tdx_guest(guest: Guest) -> dict[str, object]:
    return {
        "qom-type": "tdx-guest",
        "id": "tdx",
        "mrconfigid": base64.b64encode(guest.config_digest).decode(),
        "quote-generation-socket": {"type": "unix", "path": QUOTE_SOCKET},
    }


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))
