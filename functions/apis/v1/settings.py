"""The settings of the native API: who may call the function `sweep` without an operator's key."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CALLER: Final = "LAUNCHYARD_SWEEP_CALLER"


class SweepSettings(BaseSettings):
    """Of the function `sweep`, which no gateway leads to, and which only this caller may invoke."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, validate_default=True, extra="ignore")

    caller: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")] | None = Field(
        None, validation_alias=CALLER
    )
    """The e-mail address of the scheduler's service account; None: only operators' keys are accepted."""


class NoSweepCaller(BaseSettings):
    """Of every other function: there, nobody has verified the token that names a caller."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    caller: str | None = Field(None, validation_alias=CALLER)

    @field_validator("caller")
    @classmethod
    def _only_the_sweep_has_one(cls, caller: str | None) -> str | None:
        if caller is not None:
            raise ValueError("Only for the function sweep, whose callers IAM verifies; remove it here")
        return caller
