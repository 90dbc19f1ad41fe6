"""Which control plane the commands talk to, and with which key."""

import sys
from typing import Final

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

LOCAL: Final = ".launchyard/dev.env"
"""Where `launchyard up` writes the local stack's address and keys; the environment wins over it."""
USAGE: Final = 2


class CliSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_", env_file=LOCAL, extra="ignore", frozen=True)

    url: str = Field(pattern=r"^https?://")
    client_key: SecretStr


def read_settings() -> CliSettings:
    """Return the settings; with wrong ones say every error at once and exit with 2."""
    try:
        return CliSettings()
    except ValidationError as error:
        for wrong in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in wrong["loc"]).upper()
            sys.stderr.write(f"LAUNCHYARD_{name}: {wrong['msg']}\n")
        sys.stderr.write(f"Set these in the environment, or start the local stack: `launchyard up` writes {LOCAL}.\n")
        sys.exit(USAGE)
