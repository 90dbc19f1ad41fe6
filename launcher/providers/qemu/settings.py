"""The settings of this host and its machines' sizes, for the daemon and the operators' tools."""

import pwd
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, StringConstraints, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from launcher.host import guest_network
from launcher.host.facts import host_memory_mib, host_vcpus
from launcher.host.guest_network import GuestNetwork
from launcher.host.hypervisor import BINARY, QUOTE_SOCKET, TDX_FIRMWARE, Hypervisor
from launcher.machines.resources import GIB, Size, Sizes
from shared.settings import Location, SettingsWrong

PREFIX: Final = "LAUNCHYARD_"

Memory = Annotated[int, Field(ge=64)]
Vcpus = Annotated[int, Field(ge=1)]
Disk = Annotated[int, Field(ge=0)]
PciAddress = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")]
"""As in /sys/bus/pci/devices, such as 0000:17:00.0."""


def absolute_program(name: str) -> str:
    """Return a path made absolute; a name without a slash is looked up on the PATH, and is kept."""
    return str(Path(name).absolute()) if "/" in name else name


Program = Annotated[str, AfterValidator(absolute_program)]
"""A name on the PATH, or a path."""


def _user_number(value: object) -> object:
    """Return the number of a user that is named; a number may be of none. Raises ValueError."""
    if not isinstance(value, str) or value.isdigit():
        return value
    try:
        return pwd.getpwnam(value).pw_uid
    except KeyError:
        raise ValueError("there is no such user: make it, or leave the setting out") from None


UserNumber = Annotated[int, Field(gt=0, lt=2**32 - 1)]
"""A user's number: not root's, nor the one that means no user (setresuid(2))."""
Slice = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.\\-]+\.slice$")]
"""A systemd unit's name: systemd.unit(5)."""


class HostSettings(BaseSettings):
    """Each field is the environment's `LAUNCHYARD_<FIELD>`, or its twin."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, validate_default=True, populate_by_name=True
    )

    memory_mib: Memory = Field(default_factory=host_memory_mib)
    """The total for all machines, like `vcpus`."""
    vcpus: Vcpus = Field(default_factory=host_vcpus)
    machine_memory_mib: Memory = 256
    """The memory of an export's or a task's machine, like `machine_vcpus`."""
    machine_vcpus: Vcpus = 1
    machine_disk_mib: Annotated[int, Field(ge=1)] = 64
    """The disk space of a machine's directory in addition to its data disk: for its configuration and logs."""
    tiny_memory_mib: Memory = 4 * GIB
    tiny_vcpus: Vcpus = 4
    tiny_disk_mib: Disk = 0
    standard_memory_mib: Memory = 16 * GIB
    standard_vcpus: Vcpus = 16
    standard_disk_mib: Disk = 0
    llm_memory_mib: Memory | None = None
    """None: its twin, in GiB; so the disk's."""
    llm_memory_gib: Annotated[int, Field(ge=1)] = Field(128, validation_alias="EASYENCLAVE_LLM_MEM_GIB")
    llm_vcpus: Vcpus = Field(16, validation_alias=AliasChoices(f"{PREFIX}LLM_VCPUS", "EASYENCLAVE_LLM_VCPUS"))
    llm_disk_mib: Disk | None = None
    llm_disk_gib: Disk = Field(80, validation_alias="EASYENCLAVE_LLM_DISK_GIB")
    llm_gpus: Annotated[tuple[PciAddress, ...], NoDecode] = ()
    """PCI addresses, separated by commas: all of them are passed through to one machine of size llm."""

    qemu: Program = BINARY
    tdx_firmware: Location = TDX_FIRMWARE
    quote_socket: Location = QUOTE_SOCKET
    slice: Slice | None = None
    """The systemd slice of machines, outside their launcher's control group."""
    vm_user: Annotated[UserNumber | None, BeforeValidator(_user_number)] = None
    """The user of all machines under QEMU, by name or number, if the launcher is root; None: each has its own."""
    guest_network: GuestNetwork = GuestNetwork.CONFINED
    guest_public: bool = True
    """Whether a machine in a network of its own reaches public addresses."""
    guest_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Endpoints (HOST:PORT), addresses and networks that it reaches, too; separated by commas."""

    @field_validator("llm_gpus", "guest_allow", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(item.strip().lower() for item in value.split(",") if item.strip())

    @field_validator("guest_allow")
    @classmethod
    def _targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        guest_network.parse(value)
        return value

    @property
    def reached_urls(self) -> tuple[str, ...]:
        """Return the addresses of the servers that every machine must reach."""
        return ()

    @property
    def hypervisor(self) -> Hypervisor:
        """Raises SettingsWrong if not all that machines must reach can be given to them."""
        try:
            reach = guest_network.reach(guest_network.parse(self.guest_allow), self.reached_urls, self.guest_public)
        except ValueError as error:
            raise SettingsWrong(f"{PREFIX}GUEST_ALLOW: {error}") from None
        return Hypervisor(
            self.qemu, self.tdx_firmware, self.quote_socket, self.slice, self.guest_network, reach, self.vm_user
        )

    @property
    def sizes(self) -> Sizes:
        memory_mib = self.llm_memory_gib * GIB if self.llm_memory_mib is None else self.llm_memory_mib
        disk_mib = self.llm_disk_gib * GIB if self.llm_disk_mib is None else self.llm_disk_mib
        return Sizes(
            tiny=Size(memory_mib=self.tiny_memory_mib, vcpus=self.tiny_vcpus, disk_mib=self.tiny_disk_mib),
            standard=Size(
                memory_mib=self.standard_memory_mib, vcpus=self.standard_vcpus, disk_mib=self.standard_disk_mib
            ),
            llm=Size(memory_mib=memory_mib, vcpus=self.llm_vcpus, disk_mib=disk_mib, gpus=len(self.llm_gpus)),
            work=Size(memory_mib=self.machine_memory_mib, vcpus=self.machine_vcpus),
        )
