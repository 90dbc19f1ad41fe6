"""What is written down of an instance, before it is asked for: where it may be."""

from typing import Final

from pydantic import BaseModel, ConfigDict

from launcher.machines.directory import VmDirectory
from launcher.machines.records import write_durably

FILE: Final = "instance.json"


class InstanceRecord(BaseModel):
    """`zones` are those in which it was asked for, the last one last."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project: str
    name: str
    zones: tuple[str, ...]

    def write(self, directory: VmDirectory) -> None:
        """Raises OSError."""
        write_durably(directory.path / FILE, self.model_dump_json(indent=2).encode())


def read(directory: VmDirectory) -> InstanceRecord | None:
    """Return the record; None where no instance was ever asked for. Raises OSError, ValidationError."""
    try:
        return InstanceRecord.model_validate_json((directory.path / FILE).read_bytes())
    except FileNotFoundError:
        return None
