"""The settings of the capacity contract. The contract defines their names."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from functions.domain.pools import MAX_MACHINES
from shared.domain.datacenters import parse

MIN_CLAIM_SECONDS: Final = 30.0
"""The minimum: a smaller setting is raised to it."""


class CapacitySettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, validate_default=True, extra="ignore")

    open_signup: bool = Field(False, validation_alias="OPEN_SIGNUP")
    """Whether anyone may create accounts of every type, including privileged ones."""
    claim_ttl_seconds: float = Field(600, gt=0, le=86_400, validation_alias="CAPACITY_ORDER_CLAIM_TTL_SECONDS")
    """How long the claim of a worker that sends no heartbeats is valid."""
    default_pool: bool = Field(False, validation_alias="DEFAULT_GCP_TINY_ENABLED")
    """Whether the deployment starts with a pool of tiny machines. It is off, unlike in the contract: machines cost
    money.
    """
    default_pool_datacenter: Annotated[str, AfterValidator(parse)] = Field(
        "gcp:us-central1-a", validation_alias="DEFAULT_GCP_TINY_DATACENTER"
    )
    default_pool_count: int = Field(1, ge=0, le=MAX_MACHINES, validation_alias="DEFAULT_GCP_TINY_MIN_WARM_COUNT")

    @property
    def claim_ttl(self) -> timedelta:
        return timedelta(seconds=max(self.claim_ttl_seconds, MIN_CLAIM_SECONDS))
