"""A provider's schema: its own settings, its resources and its data sources, each a block of attributes and blocks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

Type = str | list[Any]
"""A type as Terraform writes it in JSON, as in `["set", "string"]`."""
KINDS: Final = ("provider", "resources", "data_sources")


class Nesting(IntEnum):
    """How often a block may appear in another, by the numbers of plugin protocol 6."""

    SINGLE = 1
    LIST = 2
    SET = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute. `values` are those that its documentation enumerates; none if it enumerates none."""

    type: Type
    required: bool
    optional: bool
    computed: bool
    sensitive: bool = False
    write_only: bool = False
    values: tuple[str, ...] = ()

    @property
    def is_settable(self) -> bool:
        return self.required or self.optional


@dataclass(frozen=True, slots=True)
class NestedBlock:
    """A block inside another, and how many of it there may be; `most` is 0 if there is no limit."""

    nesting: Nesting
    least: int
    most: int
    block: "Block"


@dataclass(frozen=True, slots=True)
class Block:
    """Attributes, and blocks, by name."""

    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    blocks: Mapping[str, NestedBlock] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Schema:
    """All that a provider offers: its own settings under its name, its resources and data sources by type."""

    provider: Mapping[str, Block]
    resources: Mapping[str, Block]
    data_sources: Mapping[str, Block]


def render(schema: Schema) -> str:
    """Return the schema as JSON."""
    return json.dumps({kind: {n: _plain(block) for n, block in getattr(schema, kind).items()} for kind in KINDS})


def parse(text: str, types: frozenset[str]) -> Schema:
    """Return the schema that `render` wrote, with these types of resources and data sources only."""
    written = json.loads(text)
    provider, *kinds = (written[kind] for kind in KINDS)
    of_types = ({name: plain for name, plain in kind.items() if name in types} for kind in kinds)
    return Schema(*({name: _block(plain) for name, plain in kind.items()} for kind in (provider, *of_types)))


def _plain(block: Block) -> dict[str, Any]:
    return {
        "attributes": {
            name: [a.type, a.required, a.optional, a.computed, a.sensitive, a.write_only, a.values]
            for name, a in block.attributes.items()
        },
        "blocks": {name: [n.nesting, n.least, n.most, _plain(n.block)] for name, n in block.blocks.items()},
    }


def _block(plain: Mapping[str, Any]) -> Block:
    return Block(
        attributes={name: _attribute(*fields) for name, fields in plain["attributes"].items()},
        blocks={
            name: NestedBlock(Nesting(nesting), least, most, _block(block))
            for name, (nesting, least, most, block) in plain["blocks"].items()
        },
    )


def _attribute(
    type_: Type,
    required: bool,
    optional: bool,
    computed: bool,
    sensitive: bool,
    write_only: bool,
    values: Sequence[str],
) -> Attribute:
    return Attribute(type_, required, optional, computed, sensitive, write_only, tuple(values))
