"""A host with all that TDX needs, made of files in a folder, and a QEMU that answers as a good one would."""

import socket
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, Final

from launcher.host.checks.host import Case, Host
from launcher.host.checks.hypervisor import TDX_METADATA
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.host.probe import RAN
from launcher.machines.resources import Resources

GPU: Final = "0000:17:00.0"
QEMU: Final = f"""#!/bin/sh
case "$1" in
  --version) echo "QEMU emulator version 10.1.0 (Debian 1:10.1.0+ds-5ubuntu2)";;
  -object) printf 'List of user creatable objects:\\n  secret\\n  tdx-guest\\n';;
  *) exit {RAN};;
esac
"""
SYSTEMCTL: Final = """#!/bin/sh
case "$*" in
  *IPAddressDeny*) echo "0.0.0.0/0 ::/0";;
esac
"""
"""Shows a slice that denies everything."""
FILES: Final = {
    "sys/module/kvm_intel/parameters/tdx": "Y\n",
    "proc/cpuinfo": "processor : 0\nflags : fpu vmx tdx_host_platform avx512f\n",
    "dev/kvm": "",
    "dev/iommu": "",
    "sys/fs/cgroup/misc.capacity": "tdx 63\n",
    "sys/fs/cgroup/misc.current": "tdx 2\n",
    f"sys/bus/pci/devices/{GPU}/vendor": "0x10de\n",
    f"sys/bus/pci/devices/{GPU}/class": "0x030200\n",
}
SOCKET: Final = "var/run/tdx-qgs/qgs.socket"


@contextmanager
def a_tdx_host(folder: Path, unit_slice: str | None = None) -> Iterator[Host]:
    root, qemu = folder / "root", folder / "qemu-system-x86_64"
    for name, content in FILES.items():
        write(root / name, content)
    write(root / "usr/share/ovmf/OVMF.fd", "").write_bytes(bytes(4000) + TDX_METADATA + bytes(40))
    device = root / f"sys/bus/pci/devices/{GPU}"
    (device / "driver").symlink_to("../../drivers/vfio-pci")
    (device / "iommu_group").symlink_to("../../../kernel/iommu_groups/12")
    (root / "run/systemd/system").mkdir(parents=True)
    write(qemu, QEMU).chmod(0o755)
    systemctl = write(folder / "systemctl", SYSTEMCTL)
    systemctl.chmod(0o755)
    (root / SOCKET).parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as quotes:
        with chdir((root / SOCKET).parent):  # a socket's path is short
            quotes.bind(Path(SOCKET).name)
        quotes.listen()
        yield Host(
            Hypervisor(binary=str(qemu), slice=unit_slice),
            root,
            which=lambda name: {"systemd-run": name, "systemctl": str(systemctl)}.get(
                name, name if Path(name).is_absolute() else None
            ),
        )


def a_case(host: Host, mode: QemuMode = QemuMode.TDX, **asked: Any) -> Case:
    """A case of one GPU, and of two sizes, both of which fit."""
    sizes = {
        "tiny": Resources(machines=1, memory_mib=4608, vcpus=4, disk_mib=1),
        "llm": Resources(machines=1, memory_mib=131_584, vcpus=16, disk_mib=1),
    }
    fits: dict[str, Any] = {"gpus": (GPU,), "sizes": sizes, "memory_mib": 200_000, "vcpus": 64, "state": host.root}
    return Case(host, mode, **(fits | asked))


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path
