"""The settings of the local stack and its processes."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from emulators.ports import free_port
from shared.address import BaseUrl, ControlPlaneUrl
from shared.secret import Secret

PROJECT: Final = "launchyard-local"
TOPIC: Final = "launchyard-doorbell"
SUBSCRIPTION: Final = "launchyard-launchers"
BUCKET: Final = "launchyard-outputs"
DATACENTER: Final = "local:dev"
FLY_APP: Final = "launchyard-workers"
EXPORT_IMAGE: Final = "registry.fly.io/arke-mods-export-worker:production"
"""The name of the exports contract's image."""
OWN_IMAGE: Final = "registry.fly.io/launchyard-worker:production"
"""The name of the image that holds our own worker."""

Images = dict[str, Annotated[tuple[str, ...], Field(min_length=1)]]
"""The command that stands for each image, by the image's name; in JSON in the environment."""


class BackendChoice(StrEnum):
    """`auto` is google if the emulators are available, otherwise memory."""

    AUTO = "auto"
    GOOGLE = "google"
    MEMORY = "memory"


class ProviderChoice(StrEnum):
    """`auto` is qemu if it is installed, otherwise process. With `fly`, the local Machines API makes all machines.

    With the others it makes those of orders that name an image.
    """

    AUTO = "auto"
    QEMU = "qemu"
    PROCESS = "process"
    FLY = "fly"


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
    fly_port: int = Field(default=8710, ge=1, le=65535)
    fly_images: Images = {}
    """In addition to OWN_IMAGE."""
    executor: str | None = None
    """The command line of the program that runs sessions; None: the test executor, emulators/executor.py."""
    slots: int = Field(default=2, ge=1, le=64)
    backend: BackendChoice = BackendChoice.AUTO
    provider: ProviderChoice = ProviderChoice.AUTO


def free_ports() -> dict[str, int]:
    """Return a free port for each setting of the stack that is a port, by the setting's name. Raises StartFailed."""
    return {name: free_port() for name in StackSettings.model_fields if name == "port" or name.endswith("_port")}


class S3Settings(BaseSettings):
    """The secret access key of the local S3. It is not in the argv, which every user can read."""

    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_S3_")

    secret: Secret


class S3BackendSettings(BaseSettings):
    """The word by which the server behind the local S3 knows the proxy in front of it."""

    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_S3_BACKEND_")

    word: Secret


class ComputeSettings(BaseSettings):
    """The local Compute Engine's own address, with the path below which it answers."""

    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_", env_ignore_empty=True, frozen=True)

    gcp_endpoint: BaseUrl

    @property
    def path(self) -> str:
        return urlsplit(self.gcp_endpoint).path


class TrustSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_")

    ita_api_key: Secret


class LocalFlySettings(BaseSettings):
    """The settings of the local Machines API: those of the launcher that uses it, and the images."""

    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_", env_ignore_empty=True, frozen=True)

    fly_app: str = FLY_APP
    fly_api_token: Secret
    fly_images: Images = {}

    @property
    def all_images(self) -> Mapping[str, tuple[str, ...]]:
        """Return the commands of the images, our own worker's included."""
        return {OWN_IMAGE: (sys.executable, "-m", "worker"), **self.fly_images}


class SchedulerSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_", frozen=True)

    url: ControlPlaneUrl
    admin_key: Secret
