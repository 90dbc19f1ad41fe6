"""The launcher's settings, from flags and the environment: read once, with all errors reported at once."""

import re
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import httpx
from pydantic import AliasChoices, BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_settings import NoDecode

import shared.settings
from launcher.daemon.supervision import Supervision
from launcher.host.probe import QemuChoice
from launcher.orders.mode import Mode
from launcher.orders.session_settings import SessionSettings
from launcher.providers.fly.settings import FlySettings
from launcher.providers.gcp.settings import GcpSettings
from launcher.providers.qemu.settings import PREFIX, HostSettings
from shared.address import BaseUrl, ControlPlaneUrl, is_ipv6
from shared.domain import datacenters
from shared.domain.spec import Datacenter, NodeSize
from shared.guest.config import Sources
from shared.secret import Secret
from shared.settings import Location
from shared.wire.base import Name, Sha256


class ProviderName(StrEnum):
    """The providers that make machines on this host."""

    QEMU = "qemu"
    PROCESS = "process"


class Cloud(StrEnum):
    """The hosts of machines: this one, or a cloud. Exports and tasks run on the first that can."""

    BAREMETAL = "baremetal"
    GCP = "gcp"
    FLY = "fly"


def _split(value: object) -> object:
    """Split a list at its commas."""
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


def _plain(value: object) -> object:
    """Return a word in lower case; None if it is empty."""
    return (value.strip().lower() or None) if isinstance(value, str) else value


def _datacenter(value: object) -> object:
    plain = _plain(value)
    return datacenters.parse(plain) if isinstance(plain, str) else plain


def twins(field: str, *twins: str) -> AliasChoices:
    """Return the environment variables of a field; the first that is set counts."""
    return AliasChoices(f"{PREFIX}{field}", *twins)


REACHABLE: Final = "machines of the provider qemu have IPv4 alone: give a name, or an address such as 127.0.0.1"
Subscription = Annotated[str, StringConstraints(pattern=r"^projects/[^/\s]+/subscriptions/[^/\s]+$")]


def host_name() -> str:
    """Return this host's name in the form of a launcher's name."""
    fitting = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip("._-")
    return fitting[:64] or "launcher"


class LauncherSettings(HostSettings, SessionSettings, GcpSettings, FlySettings):
    """Each field is the environment's `LAUNCHYARD_<FIELD>`, or its twin; a flag wins over both."""

    url: ControlPlaneUrl = Field(validation_alias=twins("URL", "CP_URL"))
    launcher_key: Secret = Field(validation_alias=twins("LAUNCHER_KEY", "LAUNCHER_API_KEY"))
    intel_api_key: Secret | None = Field(None, validation_alias=twins("INTEL_API_KEY", "INTEL_API_KEY", "ITA_API_KEY"))
    """Accepted because the contract's worker accepts it, and ignored: the control plane has quotes appraised."""
    launcher_name: Name = Field(default_factory=host_name)
    """Unique to one launcher. Launchers that share a name differ in the identities in their state directories."""
    providers: Annotated[tuple[Cloud, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)] = Field(
        (Cloud.BAREMETAL,), validation_alias=twins("PROVIDERS", "LAUNCHER_PROVIDERS")
    )
    datacenter: Annotated[Datacenter | None, BeforeValidator(_datacenter)] = Field(
        None, validation_alias=twins("DATACENTER", "LAUNCHER_DATACENTER")
    )
    """None: any of the providers'."""
    node_size: Annotated[NodeSize | None, BeforeValidator(_plain)] = Field(
        None, validation_alias=twins("NODE_SIZE", "LAUNCHER_NODE_SIZE")
    )
    """Take only orders of this size; None: of any size, and exports, tasks and sessions."""
    poll_seconds: Annotated[float, Field(ge=2)] | None = Field(
        None, validation_alias=twins("POLL_SECONDS", "LAUNCHER_POLL_SECONDS")
    )
    """Seconds between two claims that brought nothing; None: up to a second, since a claim itself waits for orders."""
    one_shot: bool = False
    max_orders: Annotated[int, Field(ge=0)] = Field(0, validation_alias=twins("MAX_ORDERS", "LAUNCHER_MAX_ORDERS"))
    """0: no limit."""
    provider: ProviderName = ProviderName.QEMU
    qemu_mode: QemuChoice = QemuChoice.AUTO
    slots: Annotated[int, Field(ge=1, le=500)] = 2
    """Machines at once; a heartbeat carries 500 at most."""
    state_dir: Location = Path("/var/lib/launchyard")
    image: Location | None = None
    image_digest: Sha256 | None = None
    subscription: Subscription | None = None
    """None: claims over HTTPS."""
    source_api: BaseUrl = Sources().api
    source_ipfs: BaseUrl = Sources().ipfs
    source_web: BaseUrl = Sources().web
    source_private: bool = False
    """Whether the names in the sources' addresses may lead to private networks."""
    heartbeat_seconds: Annotated[float, Field(gt=0, le=45)] = 20
    """The longest time between two heartbeats; a lease is renewed earlier if a third of it is over."""
    drain_seconds: Annotated[float, Field(ge=0)] = 60
    """How long a launcher that shuts down waits for its orders. Then their machines run on for the next launcher."""

    notify_socket: str | None = Field(None, validation_alias="NOTIFY_SOCKET")
    """The socket on which systemd is notified; None: it asks for no notices, as if the watchdog's time is None."""
    watchdog_usec: Annotated[int, Field(ge=1)] | None = Field(None, validation_alias="WATCHDOG_USEC")

    @field_validator("providers")
    @classmethod
    def _project_for_gcp(cls, value: tuple[Cloud, ...], info: ValidationInfo) -> tuple[Cloud, ...]:
        if Cloud.GCP in value and not info.data.get("gcp_project"):
            raise ValueError("the provider gcp needs LAUNCHYARD_GCP_PROJECT")
        return value

    @field_validator("providers")
    @classmethod
    def _app_and_token_for_fly(cls, value: tuple[Cloud, ...], info: ValidationInfo) -> tuple[Cloud, ...]:
        for field in ("fly_app", "fly_api_token"):
            if Cloud.FLY in value and not info.data.get(field):
                raise ValueError(f"the provider fly needs {PREFIX}{field.upper()}")
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

    @field_validator("provider", "source_api", "source_ipfs", "source_web")
    @classmethod
    def _reached_by_machines(cls, value: str, info: ValidationInfo) -> str:
        """QEMU's user network shows a machine its host's 127.0.0.1, and no IPv6 address."""
        on_url = info.field_name == "provider"
        given = info.data if on_url else info.data | {"url": value}
        made_here = Cloud.BAREMETAL in given.get("providers", ()) and ProviderName.QEMU in (
            value,
            given.get("provider"),
        )
        if made_here and is_ipv6(httpx.URL(given.get("url", "")).host):
            raise ValueError(f"LAUNCHYARD_URL is an IPv6 address, and {REACHABLE}" if on_url else REACHABLE)
        return value

    @property
    def sources(self) -> Sources:
        return Sources(api=self.source_api, ipfs=self.source_ipfs, web=self.source_web, private=self.source_private)

    @property
    def reached_urls(self) -> tuple[str, ...]:
        return (self.url, self.source_api, self.source_ipfs)

    @property
    def supervision(self) -> Supervision:
        return Supervision(self.notify_socket, self.watchdog_usec and self.watchdog_usec / 1e6)

    @property
    def mode(self) -> Mode:
        if self.one_shot:
            return Mode.ONE_SHOT
        return Mode.LIMITED if self.max_orders else Mode.DAEMON

    @property
    def limit(self) -> int:
        """Return the number of orders that a launcher takes if it is not a daemon."""
        return 1 if self.one_shot else self.max_orders


def read(flags: Mapping[str, object]) -> LauncherSettings:
    """Return the settings; `flags` are fields that were given on the command line. Raises SettingsWrong."""
    return shared.settings.read(LauncherSettings, flags)


def _cloud(datacenter: str) -> Cloud:
    """Return where a datacenter's machines are made: on this host unless the datacenter is a cloud's."""
    return Cloud.GCP if datacenter.startswith(f"{Cloud.GCP}:") else Cloud.BAREMETAL
