"""What the functions are told by their environment. Every error is reported at once."""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, NoReturn, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.api import Sha256
from shared.domain.access import ApiKey, Role
from shared.domain.datacenters import parse
from shared.domain.pools import MOST_MACHINES
from shared.domain.spec import Attestation

BAD_SETTINGS: Final = 2
"""The process's exit code."""


class Backend(StrEnum):
    GOOGLE = "google"
    MEMORY = "memory"


class SeededKey(BaseModel):
    """An API key that the memory backend starts with, by its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Sha256
    role: Role
    account: Annotated[str, StringConstraints(min_length=1)]
    revocable: bool = False
    datacenters: tuple[str, ...] = ()

    def key(self) -> ApiKey:
        return ApiKey(self.digest, self.role, self.account, self.revocable, self.datacenters)


def _json(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        raise ValueError("Input should be a JSON list") from None


class Settings(BaseSettings):
    """Checks that concern two settings stand on the later one, so that they are made beside all others."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, validate_default=True, extra="ignore")

    backend: Backend = Field(Backend.GOOGLE, validation_alias="LAUNCHYARD_BACKEND")
    project: str | None = Field(None, validation_alias="GOOGLE_CLOUD_PROJECT")
    database: str = Field("(default)", validation_alias="LAUNCHYARD_DATABASE")
    topic: str = Field("launchyard-doorbell", validation_alias="LAUNCHYARD_TOPIC")
    bucket: str = Field(pattern=r"^(s3|gs)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", validation_alias="LAUNCHYARD_BUCKET")
    s3_endpoint: str | None = Field(None, pattern=r"^https?://", validation_alias="LAUNCHYARD_S3_ENDPOINT")
    s3_access_key_id: str | None = Field(None, validation_alias="LAUNCHYARD_S3_ACCESS_KEY_ID")
    s3_secret_access_key: SecretStr | None = Field(None, validation_alias="LAUNCHYARD_S3_SECRET_ACCESS_KEY")
    sign_as: str | None = Field(None, validation_alias="LAUNCHYARD_SIGN_AS")
    """For `gs://`: the service account (its e-mail address) that signs URLs; a function's own credentials cannot."""
    callback_secret: SecretStr = Field(min_length=32, validation_alias="LAUNCHYARD_CALLBACK_SECRET")
    lease_seconds: float = Field(60, ge=3, le=600, validation_alias="LAUNCHYARD_LEASE_SECONDS")
    """How long a claim or a heartbeat lasts. A launcher that polls counts from when it asked, and may wait 5 s for the
    answer: below some 10 s it may find the lease over."""
    admin_password: SecretStr | None = Field(None, min_length=12, validation_alias="LAUNCHYARD_ADMIN_PASSWORD")
    """Of the capacity contract's `POST /admin/login`; without one, operators use their key."""
    password_login: bool = Field(True, validation_alias="LAUNCHYARD_PASSWORD_LOGIN")
    open_signup: bool = Field(False, validation_alias="OPEN_SIGNUP")
    """Whether anybody may create accounts of every type, privileged ones too."""
    claim_ttl_seconds: float = Field(600, gt=0, le=86_400, validation_alias="CAPACITY_ORDER_CLAIM_TTL_SECONDS")
    attestation: Attestation = Field(Attestation.OPTIONAL, validation_alias="LAUNCHYARD_ATTESTATION")
    """What pools demand that say nothing of it."""
    default_pool: bool = Field(False, validation_alias="DEFAULT_GCP_TINY_ENABLED")
    """Whether the deployment begins with the contract's pool of tiny machines. The contract has it on; but it costs."""
    default_pool_datacenter: Annotated[str, AfterValidator(parse)] = Field(
        "gcp:us-central1-a", validation_alias="DEFAULT_GCP_TINY_DATACENTER"
    )
    default_pool_count: int = Field(1, ge=0, le=MOST_MACHINES, validation_alias="DEFAULT_GCP_TINY_MIN_WARM_COUNT")
    keys: Annotated[tuple[SeededKey, ...], NoDecode, BeforeValidator(_json)] = Field(
        (), validation_alias="LAUNCHYARD_KEYS"
    )

    @field_validator("project")
    @classmethod
    def _google_needs_a_project(cls, project: str | None, info: ValidationInfo) -> str | None:
        if project is None and info.data.get("backend") is Backend.GOOGLE:
            raise ValueError("Needed with the google backend")
        return project

    @field_validator("s3_secret_access_key")
    @classmethod
    def _s3_keys_come_in_pairs(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (secret is None) != (info.data.get("s3_access_key_id") is None):
            raise ValueError("LAUNCHYARD_S3_ACCESS_KEY_ID and LAUNCHYARD_S3_SECRET_ACCESS_KEY belong together")
        return secret

    @field_validator("keys")
    @classmethod
    def _only_memory_is_seeded(cls, keys: tuple[SeededKey, ...], info: ValidationInfo) -> tuple[SeededKey, ...]:
        if keys and info.data.get("backend") is Backend.GOOGLE:
            raise ValueError("Only for the memory backend; with the google backend keys are in Firestore")
        return keys

    @classmethod
    def read(cls) -> Self:
        """Return the environment's settings, or say all that is wrong with them and exit with 2."""
        try:
            return cls()
        except ValidationError as error:
            _refuse(error)


def _refuse(error: ValidationError) -> NoReturn:
    lines = [f"  {_name(wrong['loc'])}: {wrong['msg']}\n" for wrong in error.errors(include_input=False)]
    sys.stderr.write(f"These settings are not as they should be:\n{''.join(lines)}")
    raise SystemExit(BAD_SETTINGS)


def _name(loc: Sequence[int | str]) -> str:
    """Return the variable's name, also where what is wrong is that it was not given."""
    field = Settings.model_fields.get(str(loc[0]))
    variable = field.validation_alias if field else loc[0]
    return ".".join(str(part) for part in (variable, *loc[1:]))
