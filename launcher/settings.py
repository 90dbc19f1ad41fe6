"""The launcher's settings, from flags and the environment: read once, all errors told at once."""

import re
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode

from launcher.supervision import Supervision
from launcher.vm.gcp.settings import GcpSettings
from launcher.vm.probe import QemuMode
from launcher.vm.settings import PREFIX, AbsolutePath, HostSettings
from shared.api import Name
from shared.domain import datacenters
from shared.domain.spec import Datacenter, NodeSize
from shared.image import Digest
from shared.vm_config import Sources


class ProviderName(StrEnum):
    """What makes the machines of this host."""

    QEMU = "qemu"
    PROCESS = "process"


class Cloud(StrEnum):
    """Where machines are made: on this host, or elsewhere."""

    BAREMETAL = "baremetal"
    GCP = "gcp"


def _parts(value: object) -> object:
    """Split a list that is given with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _plain(value: object) -> object:
    """Return a word as it is meant: in lower case, and None for none."""
    return (value.strip().lower() or None) if isinstance(value, str) else value


def _datacenter(value: object) -> object:
    plain = _plain(value)
    return datacenters.parse(plain) if isinstance(plain, str) else plain


def twins(field: str, *twins: str) -> AliasChoices:
    """Return the environment's names for a field; the first that is set counts."""
    return AliasChoices(f"{PREFIX}{field}", *twins)


def _without_slash(value: object) -> object:
    return value.rstrip("/") if isinstance(value, str) else value


BaseUrl = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*[^/?#\s])?$"),
    BeforeValidator(_without_slash),
]
"""Read without its trailing slash."""
AnySettings = TypeVar("AnySettings", bound=HostSettings)
Subscription = Annotated[str, StringConstraints(pattern=r"^projects/[^/\s]+/subscriptions/[^/\s]+$")]


class SettingsWrong(Exception):
    """The message names every setting that is wrong, one a line, and repeats no value."""


def host_name() -> str:
    """Return this host's name, made to fit a launcher's."""
    fitting = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip("._-")
    return fitting[:64] or "launcher"


class Settings(HostSettings, GcpSettings):
    """Each field is the environment's `LAUNCHYARD_<FIELD>`, or its twin; a flag wins over both."""

    url: BaseUrl = Field(validation_alias=twins("URL", "CP_URL"))
    launcher_key: SecretStr = Field(validation_alias=twins("LAUNCHER_KEY", "LAUNCHER_API_KEY"))
    intel_api_key: SecretStr | None = Field(
        None, validation_alias=twins("INTEL_API_KEY", "INTEL_API_KEY", "ITA_API_KEY")
    )
    """Taken as the contract's worker takes it. No machine is given it: the control plane has quotes appraised."""
    launcher_name: Name = Field(default_factory=host_name)
    """One daemon's own: what a launcher of its name holds and it does not know of, it gives up at its start."""
    providers: Annotated[tuple[Cloud, ...], NoDecode, BeforeValidator(_parts), Field(min_length=1)] = Field(
        (Cloud.BAREMETAL,), validation_alias=twins("PROVIDERS", "LAUNCHER_PROVIDERS")
    )
    datacenter: Annotated[Datacenter | None, BeforeValidator(_datacenter)] = Field(
        None, validation_alias=twins("DATACENTER", "LAUNCHER_DATACENTER")
    )
    """None: any of the providers'."""
    node_size: Annotated[NodeSize | None, BeforeValidator(_plain)] = Field(
        None, validation_alias=twins("NODE_SIZE", "LAUNCHER_NODE_SIZE")
    )
    """Only orders of this size; None: of any, and exports and tasks."""
    poll_seconds: Annotated[float, Field(ge=2)] | None = Field(
        None, validation_alias=twins("POLL_SECONDS", "LAUNCHER_POLL_SECONDS")
    )
    """Between two claims that brought nothing; None: at most a second, since a claim itself waits for orders."""
    one_shot: bool = False
    max_orders: Annotated[int, Field(ge=0)] = Field(0, validation_alias=twins("MAX_ORDERS", "LAUNCHER_MAX_ORDERS"))
    """0: no limit."""
    provider: ProviderName = ProviderName.QEMU
    qemu_mode: QemuMode = QemuMode.AUTO
    slots: Annotated[int, Field(ge=1, le=500)] = 2
    """Machines at once; a heartbeat carries 500 at most."""
    state_dir: AbsolutePath = Path("/var/lib/launchyard")
    image: AbsolutePath | None = None
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

    notify_socket: str | None = Field(None, validation_alias="NOTIFY_SOCKET")
    """Where systemd is told how the launcher is; None: nobody asks. So with the watchdog's time."""
    watchdog_usec: Annotated[int, Field(ge=1)] | None = Field(None, validation_alias="WATCHDOG_USEC")

    @field_validator("providers")
    @classmethod
    def _project_for_gcp(cls, value: tuple[Cloud, ...], info: ValidationInfo) -> tuple[Cloud, ...]:
        if Cloud.GCP in value and not info.data.get("gcp_project"):
            raise ValueError("the provider gcp needs LAUNCHYARD_GCP_PROJECT")
        return value

    @field_validator("datacenter")
    @classmethod
    def _of_a_provider(cls, value: str | None, info: ValidationInfo) -> str | None:
        enabled = info.data.get("providers", tuple(Cloud))
        if value is not None and _cloud(value) not in enabled:
            raise ValueError(f"the provider {_cloud(value)} is not enabled on this launcher")
        return value

    @field_validator("image", "image_digest")
    @classmethod
    def _image_for_qemu(cls, value: object, info: ValidationInfo) -> object:
        makes_machines = Cloud.BAREMETAL in info.data.get("providers", ())
        if value is None and makes_machines and info.data.get("provider") is ProviderName.QEMU:
            raise ValueError("the provider qemu needs it")
        return value

    @property
    def sources(self) -> Sources:
        return Sources(api=self.source_api, ipfs=self.source_ipfs, web=self.source_web)

    @property
    def supervision(self) -> Supervision:
        return Supervision(self.notify_socket, self.watchdog_usec and self.watchdog_usec / 1e6)

    @property
    def most(self) -> int | None:
        """How many orders are to be taken; None: as many as there are."""
        return 1 if self.one_shot else self.max_orders or None


def read(flags: Mapping[str, object]) -> Settings:
    """Return the settings; `flags` are fields that were given on the command line. Raises SettingsWrong."""
    return read_as(Settings, flags)


def read_as(kind: type[AnySettings], flags: Mapping[str, object]) -> AnySettings:
    """Return the settings of one kind. Raises SettingsWrong."""
    try:
        return kind(**flags)  # type: ignore[arg-type]  # values are parsed, and refused, by the model
    except ValidationError as error:
        lines = (f"{_named(str(one['loc'][0]))}: {one['msg']}" for one in error.errors(include_input=False))
        raise SettingsWrong("\n".join(lines)) from None


def _cloud(datacenter: str) -> Cloud:
    """Return who makes a datacenter's machines: whichever is no cloud's is this host's."""
    return Cloud.GCP if datacenter.startswith(f"{Cloud.GCP}:") else Cloud.BAREMETAL


def _named(location: str) -> str:
    """Return the environment's name of a field, by which errors are told."""
    return location if location.isupper() else f"{PREFIX}{location.upper()}"
