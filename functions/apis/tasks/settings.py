"""The settings of the contract of ephemeral workers."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TasksSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, validate_default=True, extra="ignore")

    open_callbacks: bool = Field(False, validation_alias="LAUNCHYARD_OPEN_CALLBACKS")
    """Whether anyone may report for any task, without a secret. Only for a control plane that nobody else reaches."""
