"""What the operator's commands read of the environment."""

from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.address import BaseUrl

NAME: Final = "launchyard"
"""The default of Terraform's variable `name`."""
DATABASE: Final = "launchyard"
"""The default of Terraform's variable `database`."""
HOST: Final = r"^[A-Za-z0-9.-]+:[0-9]{1,5}$"


class DeploySettings(BaseSettings):
    """`google_endpoint` stands for Google's addresses: below it, each API has a path of its name, such as `/pubsub`."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    google_endpoint: BaseUrl | None = Field(None, validation_alias="LAUNCHYARD_GOOGLE_ENDPOINT")
    firestore_emulator: str | None = Field(None, pattern=HOST, validation_alias="FIRESTORE_EMULATOR_HOST")
    pubsub_emulator: str | None = Field(None, pattern=HOST, validation_alias="PUBSUB_EMULATOR_HOST")
