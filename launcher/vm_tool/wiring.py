"""The tool's settings made into a provider and a size."""

from launcher.host.checks.case import Host
from launcher.machines.port import LaunchFailed
from launcher.machines.sizes import Size
from launcher.providers.qemu.argv import Mode
from launcher.providers.qemu.provider import QemuProvider
from launcher.vm_tool.settings import ToolSettings
from shared.domain.spec import NodeSize
from shared.guest.image import MANIFEST, file_digest


def provider_of(settings: ToolSettings, mode: Mode) -> QemuProvider:
    """Raises ImageRejected, LaunchFailed."""
    if settings.image is None:
        raise LaunchFailed("No image is named: give --image, or set LAUNCHYARD_IMAGE.")
    image = settings.image.resolve()
    return QemuProvider(
        mode=mode,
        image=image,
        digest=settings.image_digest or file_digest(image / MANIFEST),
        sizes=settings.sizes,
        directory_mib=settings.machine_disk_mib,
        host=Host(settings.hypervisor),
        gpus=settings.llm_gpus,
    )


def size_of(
    settings: ToolSettings, name: NodeSize | None, memory: int | None, vcpus: int | None, disk: int | None
) -> Size:
    """Return a node size, with what was asked for instead. Raises ValidationError."""
    asked = {"memory_mib": memory, "vcpus": vcpus, "disk_mib": disk}
    chosen = {field: value for field, value in asked.items() if value is not None}
    return Size.model_validate(settings.sizes.of_node(name or settings.default_size).model_dump() | chosen)
