"""The settings of `launchyard vm`: the launcher's own of this host, and the twins of its flags."""

from pathlib import Path

from pydantic import Field

from launcher.providers.qemu.probe import QemuMode
from launcher.providers.qemu.settings import HostSettings
from shared.address import BaseUrl
from shared.domain.spec import NodeSize
from shared.secret import Secret
from shared.settings import Location
from shared.wire.base import Sha256


class ToolSettings(HostSettings):
    qemu_mode: QemuMode = QemuMode.AUTO
    image: Location | None = None
    image_digest: Sha256 | None = None
    """None: the image is what its directory holds."""
    vm_state_dir: Location = Path("/var/lib/launchyard/vm")
    easyenclave_url: BaseUrl | None = Field(None, validation_alias="EASYENCLAVE_CP_URL")
    admin_token: Secret | None = Field(None, validation_alias="ADMIN_TOKEN")
    default_size: NodeSize = Field(NodeSize.TINY, validation_alias="EASYENCLAVE_DEFAULT_SIZE")
