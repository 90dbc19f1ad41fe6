"""The messages of plugin protocol 6 that the stand-ins send, by the field numbers of tfplugin6.proto 6.7."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

import msgpack

from tests.infra.stand_in.protobuf import Message, decode
from tests.infra.stand_in.schema import Block, Schema

UNKNOWN: Final = msgpack.ExtType(0, b"\0")
"""A value that is known only after apply."""
ERROR: Final = 1

Step = str | int
Values = dict[str, Any]


def value_of(dynamic: bytes) -> Any:
    """Return the value in a DynamicValue."""
    return msgpack.unpackb(decode(dynamic)[1])


def values_of(dynamic: bytes) -> Values | None:
    """Return the attributes and blocks in a DynamicValue; None if it is null."""
    return cast("Values | None", value_of(dynamic))


def dynamic(value: object) -> Message:
    """Return a DynamicValue."""
    return {1: msgpack.packb(value)}


def path(steps: tuple[Step, ...]) -> Message:
    """Return an AttributePath."""
    return {1: [{1: step} if isinstance(step, str) else {3: step} for step in steps]}


def error(summary: str, detail: str = "", steps: tuple[Step, ...] = ()) -> Message:
    """Return a Diagnostic, at an attribute if there are steps to it."""
    return {1: ERROR, 2: summary, 3: detail} | ({4: path(steps)} if steps else {})


def provider_schema(schema: Schema) -> Message:
    """Return the answer to GetProviderSchema."""
    (provider,) = schema.provider.values()
    capabilities = {1: True, 2: True}  # plans of what is destroyed; this answer is asked for once
    return {1: _schema(provider), 2: _by_name(schema.resources), 3: _by_name(schema.data_sources), 6: capabilities}


def _by_name(blocks: Mapping[str, Block]) -> list[Message]:
    return [{1: name, 2: _schema(block)} for name, block in blocks.items()]


def _schema(block: Block) -> Message:
    return {2: _block(block)}


def _block(block: Block) -> Message:
    return {
        2: [
            {
                1: name,
                2: json.dumps(attribute.type),
                4: attribute.required,
                5: attribute.optional,
                6: attribute.computed,
                7: attribute.sensitive,
                11: attribute.write_only,
            }
            for name, attribute in block.attributes.items()
        ],
        3: [
            {1: name, 2: _block(nested.block), 3: int(nested.nesting), 4: nested.least, 5: nested.most}
            for name, nested in block.blocks.items()
        ],
    }
