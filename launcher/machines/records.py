"""What is written down of a machine, and how: whole or not at all.

A later daemon may have written more than this one knows: it must not put its machines aside for that.
"""

import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from launcher.machines.resources import Resources

PARTIAL: Final = ".partial"
OPERATORS: Final = "tdvirsh-trust_domain_verity-"
"""How the names of the machines begin that `launchyard vm` makes: no daemon has any business with them."""


class VmManifest(BaseModel):
    """What this machine is. `argv` is what was to be run, with file names relative to the directory."""

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
    """What is reserved for it on this host, until its process has ended."""

    @property
    def is_operators(self) -> bool:
        return self.vm.startswith(OPERATORS)


class VmProcess(BaseModel):
    """The process that was started. `started` is in clock ticks since the host booted (proc(5), field 22 of stat)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    started: int


class VmLease(BaseModel):
    """Until when the machine may run: `ends` is a time of CLOCK_MONOTONIC, which all processes of a host share.

    It was last given for `seconds`. One that is `endless` is that of a machine that runs, and that is left to itself.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    ends: float
    seconds: float
    endless: bool = False


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads: after a crash it is there whole, or not at all. Raises OSError."""
    replace(path, content, synchronised=True)
    synchronise(path.parent)


def replace(path: Path, content: bytes, synchronised: bool = False) -> None:
    """Write a file that only its owner reads, so that whoever reads it finds one whole content. Raises OSError."""
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
