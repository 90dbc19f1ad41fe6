"""The settings of the local stack and its processes."""

from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from emulators.processes import free_port
from shared.address import ControlPlaneUrl
from shared.secret import Secret

PROJECT: Final = "launchyard-local"
TOPIC: Final = "launchyard-doorbell"
SUBSCRIPTION: Final = "launchyard-launchers"
BUCKET: Final = "launchyard-outputs"
DATACENTER: Final = "local:dev"


class Backend(StrEnum):
    """`auto` is google if the emulators are available, otherwise memory."""

    AUTO = "auto"
    GOOGLE = "google"
    MEMORY = "memory"


class ProviderChoice(StrEnum):
    """`auto` is qemu if it is installed, otherwise process."""

    AUTO = "auto"
    QEMU = "qemu"
    PROCESS = "process"


class StackSettings(BaseSettings):
    """All ports are on the loopback address. `port` is the control plane's."""

    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_", env_ignore_empty=True, frozen=True)

    home: Path = Path(".launchyard")
    images: Path = Path(".launchyard/images")
    port: int = Field(default=8080, ge=1, le=65535)
    firestore_port: int = Field(default=8681, ge=1, le=65535)
    pubsub_port: int = Field(default=8685, ge=1, le=65535)
    s3_port: int = Field(default=8690, ge=1, le=65535)
    source_port: int = Field(default=8695, ge=1, le=65535)
    compute_port: int = Field(default=8700, ge=1, le=65535)
    trust_port: int = Field(default=8705, ge=1, le=65535)
    slots: int = Field(default=2, ge=1, le=64)
    backend: Backend = Backend.AUTO
    provider: ProviderChoice = ProviderChoice.AUTO


def free_ports() -> dict[str, int]:
    """Return a free port for each setting of the stack that is a port, by the setting's name. Raises StartFailed."""
    return {name: free_port() for name in StackSettings.model_fields if name == "port" or name.endswith("_port")}


class S3Settings(BaseSettings):
    """The secret access key of the local S3. It is not in the argv, which every user can read."""

    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_S3_")

    secret: Secret


class TrustSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_")

    ita_api_key: Secret


class SchedulerSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_", frozen=True)

    url: ControlPlaneUrl
    admin_key: Secret
