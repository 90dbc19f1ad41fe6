"""How large machines are: one size for each node size, and one for work."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.spec import AnySpec, CapacitySpec, NodeSize

GIB: Final = 1024
"""In MiB."""


class Size(BaseModel):
    """`disk_mib` is the data disk's, 0: none; `gpus` are passed through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_mib: Annotated[int, Field(ge=64)]
    vcpus: Annotated[int, Field(ge=1)]
    disk_mib: Annotated[int, Field(ge=0)] = 0
    gpus: Annotated[int, Field(ge=0)] = 0


class Sizes(BaseModel):
    """`work` is an export's and a task's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiny: Size = Size(memory_mib=4 * GIB, vcpus=4)
    standard: Size = Size(memory_mib=16 * GIB, vcpus=16)
    llm: Size = Size(memory_mib=128 * GIB, vcpus=16, disk_mib=80 * GIB)
    work: Size = Size(memory_mib=256, vcpus=1)

    def of(self, spec: AnySpec) -> Size:
        return self.of_node(spec.node_size) if isinstance(spec, CapacitySpec) else self.work

    def of_node(self, size: NodeSize) -> Size:
        return {NodeSize.TINY: self.tiny, NodeSize.STANDARD: self.standard, NodeSize.LLM: self.llm}[size]
