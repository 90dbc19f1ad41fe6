"""The settings of `launchyard vm`, and the provider and machine size that they and its flags make."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import typer
from pydantic import Field

from launcher.host.checks.host import Host
from launcher.host.hypervisor import QemuMode
from launcher.host.probe import QemuChoice
from launcher.machines.port import LaunchFailed
from launcher.machines.resources import Size
from launcher.providers.qemu.provider import QemuProvider
from launcher.providers.qemu.settings import HostSettings
from shared.address import BaseUrl
from shared.domain.spec import NodeSize
from shared.guest.image import MANIFEST, file_digest
from shared.secret import Secret
from shared.settings import Location
from shared.wire.base import Sha256

MIB_OF: Final[Mapping[str, int]] = {"": 1024, "G": 1024, "M": 1}
AMOUNT: Final = re.compile(r"(\d{1,9})(?:([GM])(?:iB)?)?")


class ToolSettings(HostSettings):
    qemu_mode: QemuChoice = QemuChoice.AUTO
    image: Location | None = None
    image_digest: Sha256 | None = None
    """If it is None, any image in the directory is accepted."""
    vm_state_dir: Location = Path("/var/lib/launchyard/vm")
    easyenclave_url: BaseUrl | None = Field(None, validation_alias="EASYENCLAVE_CP_URL")
    admin_token: Secret | None = Field(None, validation_alias="ADMIN_TOKEN")
    default_size: NodeSize = Field(NodeSize.TINY, validation_alias="EASYENCLAVE_DEFAULT_SIZE")

    @property
    def reached_urls(self) -> tuple[str, ...]:
        return () if self.easyenclave_url is None else (self.easyenclave_url,)


def provider_of(settings: ToolSettings, mode: QemuMode) -> QemuProvider:
    """Return the provider for the operator's machines. Raises ImageRejected, LaunchFailed."""
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
    """Return a node size, changed by the flags that were given. Raises ValidationError."""
    asked = {"memory_mib": memory, "vcpus": vcpus, "disk_mib": disk}
    chosen = {field: value for field, value in asked.items() if value is not None}
    return Size.model_validate(settings.sizes.of_node(name or settings.default_size).model_dump() | chosen)


def mib(text: str) -> int:
    """Return an amount of memory or disk in MiB: a number without a unit is GiB. Raises BadParameter."""
    if (amount := AMOUNT.fullmatch(text.strip())) is None:
        raise typer.BadParameter("Give GiB, such as 4, or MiB, such as 256M.")
    return int(amount[1]) * MIB_OF[amount[2] or ""]
