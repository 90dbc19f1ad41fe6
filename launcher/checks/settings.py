"""What the doctor is told of a launcher: its settings as far as they are set, none of which it must have."""

from pathlib import Path

from pydantic import Field

from launcher.settings import BaseUrl, twins
from launcher.vm.settings import AbsolutePath, HostSettings
from shared.image import Digest


class DoctorSettings(HostSettings):
    url: BaseUrl | None = Field(None, validation_alias=twins("URL", "CP_URL"))
    state_dir: AbsolutePath = Path("/var/lib/launchyard")
    image: AbsolutePath | None = None
    image_digest: Digest | None = None
