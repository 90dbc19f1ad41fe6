"""The launcher's settings, from flags and the environment: read once, all errors told at once."""

import re
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, SecretStr, StringConstraints, ValidationError, ValidationInfo, field_validator

from launcher.vm.probe import QemuMode
from launcher.vm.settings import PREFIX, HostSettings
from shared.api import Name
from shared.domain.spec import Datacenter
from shared.image import Digest
from shared.vm_config import Sources

BaseUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*[^/?#\s])?$")]
"""No trailing slash."""
AnySettings = TypeVar("AnySettings", bound=HostSettings)
Subscription = Annotated[str, StringConstraints(pattern=r"^projects/[^/\s]+/subscriptions/[^/\s]+$")]


class ProviderName(StrEnum):
    QEMU = "qemu"
    PROCESS = "process"


class SettingsWrong(Exception):
    """The message names every setting that is wrong, one a line, and repeats no value."""


def host_name() -> str:
    """Return this host's name, made to fit a launcher's."""
    fitting = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip("._-")
    return fitting[:64] or "launcher"


class Settings(HostSettings):
    """Each field is the environment's `LAUNCHYARD_<FIELD>`; a flag wins over it."""

    url: BaseUrl
    launcher_key: SecretStr
    launcher_name: Name = Field(default_factory=host_name)
    """One daemon's own: what a launcher of its name holds and it does not know of, it gives up at its start."""
    datacenter: Datacenter
    provider: ProviderName = ProviderName.QEMU
    qemu_mode: QemuMode = QemuMode.AUTO
    slots: Annotated[int, Field(ge=1, le=500)] = 2
    """Machines at once; a heartbeat carries 500 at most."""
    state_dir: Path = Path("/var/lib/launchyard")
    image: Path | None = None
    image_digest: Digest | None = None
    subscription: Subscription | None = None
    """None: claims over HTTPS."""
    source_api: BaseUrl = Sources().api
    source_ipfs: BaseUrl = Sources().ipfs
    source_web: BaseUrl = Sources().web
    heartbeat_seconds: Annotated[float, Field(gt=0, le=45)] = 20
    """At most; a lease is renewed when a third of it is over."""
    drain_seconds: Annotated[float, Field(ge=0)] = 60
    """How long a launcher that is told to go waits for its orders; then their machines run on for the next one."""

    @field_validator("image", "image_digest")
    @classmethod
    def _image_for_qemu(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("provider") is ProviderName.QEMU:
            raise ValueError("the provider qemu needs it")
        return value

    @property
    def sources(self) -> Sources:
        return Sources(api=self.source_api, ipfs=self.source_ipfs, web=self.source_web)


def read(flags: Mapping[str, object]) -> Settings:
    """Return the settings; `flags` are fields that were given on the command line. Raises SettingsWrong."""
    return read_as(Settings, flags)


def read_as(kind: type[AnySettings], flags: Mapping[str, object]) -> AnySettings:
    """Return the settings of one kind. Raises SettingsWrong."""
    try:
        return kind(**flags)  # type: ignore[arg-type]  # values are parsed, and refused, by the model
    except ValidationError as error:
        lines = (f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors(include_input=False))
        raise SettingsWrong("\n".join(lines)) from None
