"""The settings of the agent-jobs contract."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class JobsSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, validate_default=True, extra="ignore")

    open_to: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, validation_alias="LAUNCHYARD_JOBS_OPEN_TO"
    )
    """The account as which anyone may call without a key; None: a key is needed."""
    poll_seconds: int = Field(30, ge=1, le=30, validation_alias="LAUNCHER_POLL_TIMEOUT")
    """How long a poll is held. A launcher of the contract waits 35 s for the answer."""
    stale_seconds: float = Field(120, gt=0, le=3600, validation_alias="LAUNCHYARD_STALE_SECONDS")
    """The time after which a launcher that sends nothing is lost, with its running jobs."""
    unmatched_seconds: float = Field(600, ge=10, le=30 * 24 * 3600, validation_alias="LAUNCHYARD_UNMATCHED_SECONDS")
    """How long a job that demands labels waits for a launcher that offers them."""

    @property
    def stale_after(self) -> timedelta:
        return timedelta(seconds=self.stale_seconds)

    @field_validator("stale_seconds")
    @classmethod
    def _polls_show_life(cls, stale_seconds: float, info: ValidationInfo) -> float:
        if stale_seconds < 4 * info.data.get("poll_seconds", 0):
            raise ValueError("At least 4 times LAUNCHER_POLL_TIMEOUT: a launcher shows life once a poll")
        return stale_seconds
