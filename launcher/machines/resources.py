"""The resources of machines and hosts, and the size of the machine for each node size."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.spec import AnySpec, CapacitySpec, NodeSize

GIB: Final = 1024
"""In MiB."""


class Resources(BaseModel):
    """Figures of a machine or a host. `disk_mib` limits a machine's directory; a running TD holds a TDX key.

    `sessions` is 1 for the machine of an agent's session.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    machines: int = 0
    memory_mib: int = 0
    vcpus: int = 0
    disk_mib: int = 0
    tdx_keys: int = 0
    gpus: int = 0
    sessions: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: value + getattr(other, name) for name, value in self})

    def times_in(self, room: Self) -> int:
        """Return how often this much fits into the room; 0 if it does not."""
        return min((max(getattr(room, name), 0) // value for name, value in self if value > 0), default=0)

    def larger(self, other: Self) -> Self:
        """Return the larger figure of the two for each resource."""
        return type(self)(**{name: max(value, getattr(other, name)) for name, value in self})

    def left_of(self, whole: Self) -> Self:
        """Return the whole less this much; a figure is negative if too much is taken."""
        return type(self)(**{name: getattr(whole, name) - value for name, value in self})


class Size(BaseModel):
    """The size of one machine. `disk_mib` is its data disk, 0 for none; `gpus` are passed through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_mib: Annotated[int, Field(ge=64)]
    vcpus: Annotated[int, Field(ge=1)]
    disk_mib: Annotated[int, Field(ge=0)] = 0
    gpus: Annotated[int, Field(ge=0)] = 0


class Sizes(BaseModel):
    """The size for each node size; `work` is for exports, tasks and sessions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiny: Size = Size(memory_mib=4 * GIB, vcpus=4)
    standard: Size = Size(memory_mib=16 * GIB, vcpus=16)
    llm: Size = Size(memory_mib=128 * GIB, vcpus=16, disk_mib=80 * GIB)
    work: Size = Size(memory_mib=256, vcpus=1)

    def of(self, spec: AnySpec) -> Size:
        return self.of_node(spec.node_size) if isinstance(spec, CapacitySpec) else self.work

    def of_node(self, size: NodeSize) -> Size:
        return {NodeSize.TINY: self.tiny, NodeSize.STANDARD: self.standard, NodeSize.LLM: self.llm}[size]
