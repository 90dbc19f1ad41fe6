"""Checks of the GPUs that go to guests: which driver they have, and whether they can be passed through."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.host.checks.host import Case, Finding, Host

IOMMU: Final = Path("/dev/iommu")
PCI: Final = Path("/sys/bus/pci/devices")
NVIDIA: Final = "0x10de"
GPU_CLASSES: Final = ("0x0300", "0x0302")
"""A display controller, and one without a display: VGA and 3D (PCI Code and ID Assignment, base class 03)."""
VFIO: Final = "vfio-pci"


@dataclass(frozen=True, slots=True)
class Gpu:
    """`driver` and `group` are None if it has none."""

    address: str
    driver: str | None
    group: str | None

    @property
    def ready(self) -> bool:
        return self.driver == VFIO and self.group is not None

    def __str__(self) -> str:
        return f"{self.address} (driver {self.driver or 'none'}, IOMMU group {self.group or 'none'})"


def iommu(case: Case) -> Finding:
    there = case.host.path(IOMMU).exists()
    return Finding(
        met=there,
        found=f"{IOMMU}" if there else f"no {IOMMU}",
        needed="iommufd, by which GPUs are passed through",
        to_do="modprobe iommufd, and boot with intel_iommu=on",
    )


def gpus(case: Case) -> Finding:
    there = {gpu.address: gpu for gpu in of(case.host)}
    asked = case.gpus or tuple(there)
    words = [str(there[address]) if address in there else f"no GPU {address}" for address in asked]
    return Finding(
        met=all(address in there and there[address].ready for address in asked),
        found=", ".join(words) or "no GPUs",
        needed=f"each GPU of LAUNCHYARD_LLM_GPUS with the driver {VFIO} and in an IOMMU group",
        to_do=f"driverctl set-override ADDRESS {VFIO}, for each",
    )


def of(host: Host) -> Iterator[Gpu]:
    """Yield this host's NVIDIA GPUs."""
    folder = host.path(PCI)
    for device in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _word(device / "vendor") == NVIDIA and _word(device / "class").startswith(GPU_CLASSES):
            yield Gpu(device.name, _target(device / "driver"), _target(device / "iommu_group"))


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _target(link: Path) -> str | None:
    try:
        return link.readlink().name
    except OSError:
        return None
