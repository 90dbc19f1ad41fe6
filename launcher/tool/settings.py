"""The settings of `launchyard vm`: the launcher's own of this host, and the twins of its flags."""

from pathlib import Path

from pydantic import Field, SecretStr

from launcher.settings import BaseUrl
from launcher.vm.probe import QemuMode
from launcher.vm.settings import AbsolutePath, HostSettings
from shared.domain.spec import NodeSize
from shared.image import Digest


class ToolSettings(HostSettings):
    qemu_mode: QemuMode = QemuMode.AUTO
    image: AbsolutePath | None = None
    image_digest: Digest | None = None
    """None: the image is what its directory holds."""
    vm_state_dir: AbsolutePath = Path("/var/lib/launchyard/vm")
    easyenclave_url: BaseUrl | None = Field(None, validation_alias="EASYENCLAVE_CP_URL")
    admin_token: SecretStr | None = Field(None, validation_alias="ADMIN_TOKEN")
    default_size: NodeSize = Field(NodeSize.TINY, validation_alias="EASYENCLAVE_DEFAULT_SIZE")
