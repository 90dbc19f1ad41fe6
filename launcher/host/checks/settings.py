"""What the doctor is told of a launcher: its settings as far as they are set, none of which it must have."""

from pathlib import Path

from pydantic import Field

from launcher.providers.qemu.settings import HostSettings
from launcher.settings import twins
from shared.address import ControlPlaneUrl
from shared.settings import Location
from shared.wire.base import Sha256


class DoctorSettings(HostSettings):
    url: ControlPlaneUrl | None = Field(None, validation_alias=twins("URL", "CP_URL"))
    state_dir: Location = Path("/var/lib/launchyard")
    image: Location | None = None
    image_digest: Sha256 | None = None
