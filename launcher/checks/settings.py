"""What the doctor is told of a launcher: its settings as far as they are set, none of which it must have."""

from pathlib import Path

from pydantic import Field

from launcher.settings import twins
from launcher.vm.settings import HostSettings
from shared.address import ControlPlaneUrl
from shared.image import Digest


class DoctorSettings(HostSettings):
    url: ControlPlaneUrl | None = Field(None, validation_alias=twins("URL", "CP_URL"))
    state_dir: Path = Path("/var/lib/launchyard")
    image: Path | None = None
    image_digest: Digest | None = None
