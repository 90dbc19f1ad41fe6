"""The settings of the provider `fly`, by our environment variables and by the contracts'."""

from typing import Annotated, Final, Literal

from pydantic import AliasChoices, Field, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from launcher.machines.remote.marks import Owner
from launcher.providers.fly.options import ENDPOINT, OWN_IMAGE, REGION, FlyGuest, FlyOptions
from shared.address import BaseUrl
from shared.domain.spec import OrderKind
from shared.secret import Secret

PREFIX: Final = "LAUNCHYARD_"

App = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[a-z0-9][a-z0-9-]*$")]
Image = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\s]+$")]
Region = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[a-z]{3}$")]
Cpus = Annotated[int, Field(ge=1, le=16)]
MemoryMb = Annotated[int, Field(ge=256, multiple_of=256)]


class FlySettings(BaseSettings):
    """Each field is the environment's `LAUNCHYARD_<FIELD>`; two have the contracts' name, too."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, validate_default=True, populate_by_name=True
    )

    fly_app: App | None = Field(None, validation_alias=AliasChoices(f"{PREFIX}FLY_APP", "FLY_WORKER_APP"))
    """None: the provider fly cannot be enabled; so without a token."""
    fly_api_token: Secret | None = Field(None, validation_alias=AliasChoices(f"{PREFIX}FLY_API_TOKEN", "FLY_API_TOKEN"))
    fly_endpoint: BaseUrl = ENDPOINT
    fly_region: Region = REGION
    fly_own_images: Annotated[tuple[Image, ...], NoDecode, Field(min_length=1)] = (OWN_IMAGE,)
    """Separated by commas."""
    fly_cpu_kind: Literal["shared", "performance"] = "shared"
    fly_export_cpus: Cpus = 2
    fly_export_memory_mb: MemoryMb = 1024
    fly_task_cpus: Cpus = 1
    fly_task_memory_mb: MemoryMb = 512
    fly_look_seconds: Annotated[float, Field(gt=0, le=60)] = 2
    """The seconds between two reads of all machines."""

    @field_validator("fly_own_images", mode="before")
    @classmethod
    def _split_images(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(item.strip() for item in value.split(",") if item.strip())

    def fly_options(self, app: str, token: Secret, owner: Owner) -> FlyOptions:
        """Return where and how the machines of this launcher are made."""
        return FlyOptions(
            app=app,
            token=token,
            owner=owner,
            endpoint=self.fly_endpoint,
            region=self.fly_region,
            own_images=self.fly_own_images,
            sizes={
                OrderKind.EXPORT: FlyGuest(self.fly_cpu_kind, self.fly_export_cpus, self.fly_export_memory_mb),
                OrderKind.TASK: FlyGuest(self.fly_cpu_kind, self.fly_task_cpus, self.fly_task_memory_mb),
            },
            check_seconds=self.fly_look_seconds,
        )
