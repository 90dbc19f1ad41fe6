"""The settings of the exports contract."""

from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.domain.spec import Image, Region


class ExportsSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, validate_default=True, extra="ignore")

    open_to: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, validation_alias="LAUNCHYARD_EXPORTS_OPEN_TO"
    )
    """The account as which anyone may call without a key; None: a key is needed."""
    open_callbacks: bool = Field(False, validation_alias="LAUNCHYARD_OPEN_CALLBACKS")
    """Whether anyone may report the end of a task at `/callback/<task>`, without the secret of its machine."""
    run_seconds: float = Field(600, ge=1, le=30 * 24 * 3600, validation_alias="LAUNCHYARD_EXPORT_RUN_SECONDS")
    """How long an export may run."""
    image: Image | None = Field(None, validation_alias="LAUNCHYARD_EXPORT_IMAGE")
    """The image that makes the exports; None: our own worker."""
    region: Region | None = Field(None, validation_alias="LAUNCHYARD_EXPORT_REGION")
    """The region of the machines that run the image; None: the launcher's."""
