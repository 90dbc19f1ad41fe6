"""The settings for building the guest image."""

from typing import Annotated, Final

from pydantic import StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "LAUNCHYARD_"
MIRROR: Final = f"{PREFIX}DEBIAN_MIRROR"

Mirror = Annotated[str, StringConstraints(pattern=r"^(https?|file)://[^\s\[\]#]+$")]


class ImageSettings(BaseSettings):
    """The environment variable of each field is `LAUNCHYARD_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    debian_mirror: Mirror | None = None
    """The address of a Debian archive, such as one day of a snapshot archive. None leaves the choice to mmdebstrap."""
