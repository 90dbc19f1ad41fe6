"""The records of a machine, which are written atomically.

Fields that a later version added are ignored, so that the machine is not quarantined because of them.
"""

import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from launcher.machines.resources import Resources
from shared.wire.launchers import Hold

PARTIAL: Final = ".partial"
OPERATORS: Final = "tdvirsh-trust_domain_verity-"
"""The prefix of the names of the machines that `launchyard vm` makes. Daemons leave these alone."""


class VmManifest(BaseModel):
    """Describes the machine. `argv` is its command line, relative to the directory; empty if the machine is remote."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    order_id: str
    epoch: int
    vm: str
    uuid: str
    provider: str
    mode: str | None
    image_digest: str | None
    argv: tuple[str, ...]
    resources: Resources
    """The resources that it takes from this host until its process has ended."""

    @property
    def is_operators(self) -> bool:
        return self.vm.startswith(OPERATORS)

    @property
    def hold(self) -> Hold:
        """The order and the epoch. Raises ValidationError if there can be no such order or epoch."""
        return Hold(order_id=self.order_id, epoch=self.epoch)


class VmProcess(BaseModel):
    """The machine's process. `started` is in clock ticks since the host booted (proc(5), field 22 of stat)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    started: int


class VmLease(BaseModel):
    """The time until which the machine may run: `ends` is a time of CLOCK_MONOTONIC, which all processes of a host
    share.

    It was last given for `seconds`. If it `never_expires`, its order runs and is not attended. Daemons of every version
    store that as `endless`.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    ends: float
    seconds: float
    never_expires: bool = Field(False, alias="endless")


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read. After a crash it is complete or does not exist. Raises OSError."""
    replace(path, content, synchronised=True)
    synchronise(path.parent)


def replace(path: Path, content: bytes, synchronised: bool = False) -> None:
    """Replace a file that only its owner may read. A reader always finds a complete file. Raises OSError."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        if synchronised:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(path)


def synchronise(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
