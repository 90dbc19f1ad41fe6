"""Which control plane the commands talk to, and with which key."""

from typing import Final

from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.address import ControlPlaneUrl
from shared.client import ControlPlane
from shared.secret import Secret
from shared.settings import SettingsWrong, read

LOCAL: Final = ".launchyard/dev.env"
"""`launchyard up` writes the local stack's address and keys here. The environment wins over it."""
MISSING: Final = "Field required"


class CliSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LAUNCHYARD_", env_file=LOCAL, env_ignore_empty=True, extra="ignore", frozen=True
    )

    url: ControlPlaneUrl
    client_key: Secret


def open_control_plane() -> ControlPlane:
    """Return a client for the control plane that the settings name. Raises SettingsWrong, which lists every error."""
    try:
        settings = read(CliSettings)
    except SettingsWrong as error:
        if MISSING not in str(error):
            raise
        advice = f"Set these in the environment, or start the local stack: `launchyard up` writes {LOCAL}."
        raise SettingsWrong(f"{error}\n{advice}") from None
    return ControlPlane(settings.url, settings.client_key.get_secret_value())
