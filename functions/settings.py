"""The functions' settings, one model for each thing that is made of them, and how they are read from the environment.

What makes a service takes the models that it needs (`wiring`). So a function reads the settings, and needs the secrets,
of what its own routes need. A check that involves two settings belongs to the later one, so that it is reported with
all other errors.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from functions.domain.access import ApiKey, Role
from functions.domain.quotas import DEFAULT_QUOTAS, Quotas
from functions.engine.accounts import MAX_UNCONFIRMED, SIGNUPS_A_MINUTE
from functions.engine.arrivals import MAX_DISPLACED, MAX_WAITING
from functions.engine.operator_secrets import AllowedSecret, OperatorSecrets
from functions.engine.trust import Image, Nonces, Tcb, Trust
from functions.ports.orders import MAX_HELD
from functions.ports.worker_credentials import WorkerCredentials
from shared.address import BaseUrl
from shared.domain.spec import Attestation, SecretName
from shared.secret import Secret
from shared.settings import read_all_or_exit
from shared.wire.base import Sha256

S = TypeVar("S", bound=BaseSettings)

ITA_API: Final = "https://api.trustauthority.intel.com"
ITA_CERTS: Final = "https://portal.trustauthority.intel.com/certs"
WHOLE: Final = "everything"
"""The function that serves all routes."""


class Backend(StrEnum):
    GOOGLE = "google"
    MEMORY = "memory"


class SeededKey(BaseModel):
    """An API key, by its digest, that the memory backend has at its start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Sha256
    role: Role
    account: Annotated[str, StringConstraints(min_length=1)]
    revocable: bool = False
    datacenters: tuple[str, ...] = ()

    def key(self) -> ApiKey:
        return ApiKey(self.digest, self.role, self.account, self.revocable, self.datacenters)


KeyId = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[!-~]+$")]
"""A text that is sent in a header as it is."""
Measurement = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{96}$", to_lower=True)]
"""SHA-384."""


class TrustedImage(BaseModel):
    """A measured image, with the RTMRs to compare, such as `{"1": "…"}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mrtd: Measurement
    type: Annotated[str, StringConstraints(min_length=1)]
    rtmrs: dict[Literal["0", "1", "2", "3"], Measurement] = {}

    def image(self) -> Image:
        return Image(self.mrtd, self.type, {int(number): rtmr for number, rtmr in self.rtmrs.items()})


def _json(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        raise ValueError("Input should be a JSON list") from None


def _default_threads() -> int:
    """Return the number of threads that functions-framework starts, too."""
    return 4 * (os.cpu_count() or 1)


def _names(text: object) -> object:
    return [name.strip() for name in text.split(",") if name.strip()] if isinstance(text, str) else text


class Settings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, validate_default=True, extra="ignore")


class EntryPoint(Settings):
    """Which of the functions this process is. functions-framework sets it before it imports the entry points."""

    function: str = Field(WHOLE, validation_alias="FUNCTION_TARGET")


class ServerSettings(Settings):
    """What the server reads of the environment, be it functions-framework's or ours."""

    threads: int = Field(default_factory=_default_threads, ge=1, le=10_000, validation_alias="THREADS")
    """The number of requests that one process serves at once."""


class AddressSettings(Settings):
    url: BaseUrl = Field(validation_alias="LAUNCHYARD_URL")
    """The control plane's own address, at which machines call back."""


class DatabaseSettings(Settings):
    backend: Backend = Field(Backend.GOOGLE, validation_alias="LAUNCHYARD_BACKEND")
    project: str | None = Field(None, validation_alias="GOOGLE_CLOUD_PROJECT")
    database: str = Field("(default)", validation_alias="LAUNCHYARD_DATABASE")
    keys: Annotated[tuple[SeededKey, ...], NoDecode, BeforeValidator(_json)] = Field(
        (), validation_alias="LAUNCHYARD_KEYS"
    )

    @field_validator("project")
    @classmethod
    def _google_needs_a_project(cls, project: str | None, info: ValidationInfo) -> str | None:
        if project is None and info.data.get("backend") is Backend.GOOGLE:
            raise ValueError("Needed with the google backend")
        return project

    @field_validator("keys")
    @classmethod
    def _only_memory_is_seeded(cls, keys: tuple[SeededKey, ...], info: ValidationInfo) -> tuple[SeededKey, ...]:
        if keys and info.data.get("backend") is Backend.GOOGLE:
            raise ValueError("Only for the memory backend; with the google backend, keys are in Firestore")
        return keys


class DoorbellSettings(Settings):
    topic: str = Field("launchyard-doorbell", validation_alias="LAUNCHYARD_TOPIC")


class BucketSettings(Settings):
    bucket: str = Field(pattern=r"^(s3|gs)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", validation_alias="LAUNCHYARD_BUCKET")
    s3_endpoint: BaseUrl | None = Field(None, validation_alias="LAUNCHYARD_S3_ENDPOINT")
    s3_region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] = Field(
        "auto", validation_alias="LAUNCHYARD_S3_REGION"
    )
    """R2's is `auto`. Amazon refuses requests that were signed for another region than the bucket's."""
    s3_access_key_id: KeyId | None = Field(None, validation_alias="LAUNCHYARD_S3_ACCESS_KEY_ID")
    s3_secret_access_key: Secret | None = Field(None, validation_alias="LAUNCHYARD_S3_SECRET_ACCESS_KEY")
    sign_as: str | None = Field(None, validation_alias="LAUNCHYARD_SIGN_AS")
    """For `gs://`: the service account (e-mail address) that signs URLs, because a function's own credentials cannot.
    """

    @property
    def s3_secret(self) -> str | None:
        return None if self.s3_secret_access_key is None else self.s3_secret_access_key.get_secret_value()

    @field_validator("s3_secret_access_key")
    @classmethod
    def _s3_keys_come_in_pairs(cls, secret: Secret | None, info: ValidationInfo) -> Secret | None:
        if (secret is None) != (info.data.get("s3_access_key_id") is None):
            raise ValueError("LAUNCHYARD_S3_ACCESS_KEY_ID and LAUNCHYARD_S3_SECRET_ACCESS_KEY belong together")
        return secret


class WorkerCredentialSettings(Settings):
    worker_credentials: WorkerCredentials = Field(
        WorkerCredentials.TEMPORARY, validation_alias="LAUNCHYARD_WORKER_CREDENTIALS"
    )
    r2_account_id: str | None = Field(None, validation_alias="LAUNCHYARD_R2_ACCOUNT_ID")
    """For images that upload by themselves; None: read from the endpoint `https://<account>.r2.cloudflarestorage.com`.
    """


class CallbackSettings(Settings):
    callback_secret: Secret = Field(min_length=32, validation_alias="LAUNCHYARD_CALLBACK_SECRET")
    callback_secret_previous: Secret | None = Field(
        None, min_length=32, validation_alias="LAUNCHYARD_CALLBACK_SECRET_PREVIOUS"
    )
    """Also accepted, but never used to issue: the former secret during a rotation, or the one that comes next."""

    def secrets(self) -> tuple[str, str | None]:
        """Return the secret and the previous one, if there is one."""
        previous = self.callback_secret_previous
        return self.callback_secret.get_secret_value(), None if previous is None else previous.get_secret_value()


class OperatorSecretSettings(Settings):
    anthropic_api_key: Secret | None = Field(None, validation_alias="ANTHROPIC_API_KEY")
    """For tasks that ask for it, of the accounts that the next setting names."""
    anthropic_accounts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = Field(
        (), validation_alias="LAUNCHYARD_ANTHROPIC_ACCOUNTS"
    )

    def operator_secrets(self) -> OperatorSecrets:
        if self.anthropic_api_key is None:
            return OperatorSecrets()
        allowed = AllowedSecret(self.anthropic_api_key, frozenset(self.anthropic_accounts))
        return OperatorSecrets({SecretName.ANTHROPIC_API_KEY: allowed})


class LeaseSettings(Settings):
    lease_seconds: float = Field(60, ge=3, le=600, validation_alias="LAUNCHYARD_LEASE_SECONDS")
    """The length of a lease. A launcher that polls counts from its request, and may wait 5 s for the answer: with less
    than about 10 s, the lease may have expired when the answer comes.
    """

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)


class WaitingSettings(ServerSettings):
    max_waiting: int = Field(MAX_WAITING, ge=1, le=10_000, validation_alias="LAUNCHYARD_MAX_WAITING")
    """How many claims wait for an order at one instance; one more ends the wait of another. Each takes a thread, and
    all together never more than three fifths of them.
    """

    @property
    def claims_that_wait(self) -> int:
        """Return how many claims may wait: other requests keep two fifths of the threads, less `claims_held_back`."""
        return min(self.max_waiting, max(self.threads * 3 // 5, 1))

    @property
    def claims_held_back(self) -> int:
        """Return how many claims that may not wait are held for a moment."""
        return min(MAX_DISPLACED, max(self.threads // 10, 1))


class QuotaSettings(Settings):
    open_orders: int = Field(DEFAULT_QUOTAS.open_orders, ge=1, validation_alias="LAUNCHYARD_QUOTA_OPEN_ORDERS")
    creates_per_second: float = Field(
        DEFAULT_QUOTAS.creates_per_second, gt=0, validation_alias="LAUNCHYARD_QUOTA_CREATES_PER_SECOND"
    )
    machines: int = Field(DEFAULT_QUOTAS.machines, ge=1, validation_alias="LAUNCHYARD_QUOTA_MACHINES")
    waiting_claims: int = Field(DEFAULT_QUOTAS.waiting_claims, ge=1, validation_alias="LAUNCHYARD_QUOTA_WAITING_CLAIMS")
    held_orders: int = Field(
        DEFAULT_QUOTAS.held_orders, ge=1, le=MAX_HELD, validation_alias="LAUNCHYARD_QUOTA_HELD_ORDERS"
    )
    account_held_orders: int = Field(
        DEFAULT_QUOTAS.account_held_orders, ge=1, validation_alias="LAUNCHYARD_QUOTA_ACCOUNT_HELD_ORDERS"
    )

    def quotas(self) -> Quotas:
        return Quotas(**self.model_dump())


class SignupSettings(Settings):
    signups_a_minute: int = Field(SIGNUPS_A_MINUTE, ge=1, le=10_000, validation_alias="LAUNCHYARD_SIGNUPS_PER_MINUTE")
    """How many accounts may be created a minute at one instance without an operator's consent."""
    max_unconfirmed: int = Field(
        MAX_UNCONFIRMED, ge=0, le=100_000, validation_alias="LAUNCHYARD_MAX_UNCONFIRMED_ACCOUNTS"
    )
    """How many such accounts there may be that are younger than 7 days; 0 if nobody may create one."""


class LoginSettings(Settings):
    admin_password: Secret | None = Field(None, min_length=12, validation_alias="LAUNCHYARD_ADMIN_PASSWORD")
    """The password for the capacity contract's `POST /admin/login`; without one, operators use their key."""
    password_login: bool = Field(True, validation_alias="LAUNCHYARD_PASSWORD_LOGIN")


class PoolSettings(Settings):
    attestation: Attestation = Field(Attestation.OPTIONAL, validation_alias="LAUNCHYARD_ATTESTATION")
    """The demand of a pool's orders if the target sets none."""


class AttestationSettings(Settings):
    trusted_images: Annotated[tuple[TrustedImage, ...], NoDecode, BeforeValidator(_json)] = Field(
        (), validation_alias="LAUNCHYARD_TRUSTED_MRTDS"
    )
    """The images whose agents may register; none if it is empty."""
    tcb: Tcb = Field(Tcb.STRICT, validation_alias="TCB_ENFORCEMENT_MODE")
    nonces: Nonces = Field(Nonces.OPTIONAL, validation_alias="NONCE_ENFORCEMENT_MODE")

    def trust(self) -> Trust:
        return Trust([trusted.image() for trusted in self.trusted_images], self.tcb, self.nonces)


class TrustAuthoritySettings(Settings):
    ita_api_key: Secret | None = Field(None, validation_alias="LAUNCHYARD_ITA_API_KEY")
    """The API key for Intel Trust Authority, for hosts that have none. Without it, every agent must send a token."""
    ita_api: BaseUrl = Field(ITA_API, validation_alias="LAUNCHYARD_ITA_API")
    ita_certs: BaseUrl = Field(ITA_CERTS, validation_alias="LAUNCHYARD_ITA_CERTS")
    """The URL of its public keys."""


@dataclass(frozen=True, slots=True)
class AllSettings:
    by_type: Mapping[type[BaseSettings], BaseSettings]

    def of(self, kind: type[S]) -> S:
        return cast("S", self.by_type[kind])


def read_settings(kinds: Sequence[type[BaseSettings]], function: str = WHOLE) -> AllSettings:
    """Return the environment's settings of these kinds. If any are wrong, print all errors and exit with 2."""
    return AllSettings(dict(zip(kinds, read_all_or_exit(kinds, f"the function {function}"), strict=True)))
