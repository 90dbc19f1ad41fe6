"""Which control plane the commands talk to, and with which key."""

from typing import Final

from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.address import ControlPlaneUrl
from shared.secret import Secret
from shared.settings import SettingsWrong, read

LOCAL: Final = ".launchyard/dev.env"
"""Where `launchyard up` writes the local stack's address and keys; the environment wins over it."""
MISSING: Final = "Field required"


class CliSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LAUNCHYARD_", env_file=LOCAL, env_ignore_empty=True, extra="ignore", frozen=True
    )

    url: ControlPlaneUrl
    client_key: Secret


def read_settings() -> CliSettings:
    """Return the settings. Raises SettingsWrong, which tells every error at once."""
    try:
        return read(CliSettings)
    except SettingsWrong as error:
        if MISSING not in str(error):
            raise
        told = f"Set these in the environment, or start the local stack: `launchyard up` writes {LOCAL}."
        raise SettingsWrong(f"{error}\n{told}") from None
