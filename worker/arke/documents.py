"""The source's documents, as typed and frozen values.

An entity must have its identity. Everything else is optional: a field that is missing, blank or of a wrong type becomes
None or empty. Strings stay as they are, including lone surrogates and control characters: the writer of the XML
replaces what XML cannot hold.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Bytes = bytes | bytearray


class UnreadableDocument(Exception):
    """A document is not valid. The message says why."""


@dataclass(frozen=True, slots=True)
class Entity:
    """`components` maps names to CIDs, in the manifest's order; `ts` is an ISO 8601 time."""

    pi: str
    ver: int
    ts: str
    manifest_cid: str
    components: Mapping[str, str]
    children: tuple[str, ...] = ()
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Pinax:
    """An entity's descriptive metadata."""

    id: str | None = None
    title: str | None = None
    type: str | None = None
    creators: tuple[str, ...] = ()
    institution: str | None = None
    created: str | None = None
    access_url: str | None = None
    language: str | None = None
    subjects: tuple[str, ...] = ()
    description: str | None = None
    source: str | None = None
    rights: str | None = None
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A `.ref.json`: binary content kept elsewhere. `size` is in bytes; `ocr` is the text read from it."""

    url: str | None = None
    ipfs_cid: str | None = None
    type: str | None = None
    size: int | None = None
    filename: str | None = None
    ocr: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a graph. A property's value is a text, or the `Code` of another node."""

    type: str
    label: str
    properties: Mapping[str, "str | Code"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Code:
    """A reference to a node by its code. There may be no such node."""

    value: str


@dataclass(frozen=True, slots=True)
class Relation:
    source: str
    target: str
    type: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A `cheimarros.json`: the knowledge graph of an entity, nodes by code."""

    nodes: Mapping[str, Node]
    relations: tuple[Relation, ...] = ()


def entity(document: Bytes) -> Entity:
    """Parse an entity. Raises UnreadableDocument if its identity is missing."""
    fields = _object(document)
    components = fields.get("components")
    if not isinstance(components, dict):
        raise UnreadableDocument("an entity has components")
    return Entity(
        pi=_required(fields, "pi"),
        ver=_whole(fields.get("ver")) or 0,
        ts=_required(fields, "ts"),
        manifest_cid=_required(fields, "manifest_cid"),
        components={name: cid for name, cid in components.items() if isinstance(cid, str)},
        children=_texts(fields.get("children_pi")),
        parent=_text(fields.get("parent_pi")),
    )


def pinax(document: Bytes) -> Pinax:
    """Parse a `pinax.json`. Raises UnreadableDocument if it is not a JSON object."""
    fields = _object(document)
    return Pinax(
        id=_text(fields.get("id")),
        title=_text(fields.get("title")),
        type=_text(fields.get("type")),
        creators=_texts(fields.get("creator")),
        institution=_text(fields.get("institution")),
        created=_text(fields.get("created")),
        access_url=_text(fields.get("access_url")),
        language=_text(fields.get("language")),
        subjects=_texts(fields.get("subjects")),
        description=_text(fields.get("description")),
        source=_text(fields.get("source")),
        rights=_text(fields.get("rights")),
        places=_texts(fields.get("place")),
    )


def reference(document: Bytes) -> Reference:
    """Parse a `.ref.json`. Raises UnreadableDocument if it is not a JSON object."""
    fields = _object(document)
    return Reference(
        url=_text(fields.get("url")),
        ipfs_cid=_text(fields.get("ipfs_cid")),
        type=_text(fields.get("type")),
        size=_whole(fields.get("size")),
        filename=_text(fields.get("filename")),
        ocr=_text(fields.get("ocr")),
    )


def graph(document: Bytes) -> Graph:
    """Parse a `cheimarros.json`; skip invalid nodes and relations. Raises UnreadableDocument if it is not an object."""
    fields = _object(document)
    nodes = {code: node for code, value in _items(fields.get("entities")) if (node := _node(value))}
    listed = fields.get("relations")
    relations = [_relation(value) for value in listed] if isinstance(listed, list) else []
    return Graph(nodes, tuple(relation for relation in relations if relation))


def text(document: Bytes) -> str | None:
    """Parse a plain-text document. Return None if it is blank."""
    return _text(document.decode("utf-8-sig", errors="replace"))


def _node(value: Any) -> Node | None:
    if not isinstance(value, dict):
        return None
    label = _text(value.get("label"))
    properties = {name: held for name, given in _items(value.get("properties")) if (held := _property(given))}
    return Node(_text(value.get("type")) or "", label, properties) if label else None


def _property(value: Any) -> "str | Code | None":
    """Return a text or a reference. The crosswalk drops numbers."""
    if isinstance(value, dict) and value.get("type") == "entity_ref":
        code = _text(value.get("code"))
        return Code(code) if code else None
    return _text(value) if isinstance(value, str) else None


def _relation(value: Any) -> Relation | None:
    if not isinstance(value, dict):
        return None
    source, target, kind = (_text(value.get(name)) for name in ("source", "target", "type"))
    return Relation(source, target, kind) if source and target and kind else None


def _object(document: Bytes) -> dict[str, Any]:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise UnreadableDocument("it is not JSON") from error
    if not isinstance(value, dict):
        raise UnreadableDocument("it is not a JSON object")
    return value


def _required(fields: Mapping[str, Any], name: str) -> str:
    value = _text(fields.get(name))
    if value is None:
        raise UnreadableDocument(f"an entity has a {name}")
    return value


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list, or of a single value in place of a list."""
    values = value if isinstance(value, list) else [value]
    return tuple(one for one in map(_text, values) if one is not None)


def _text(value: Any) -> str | None:
    """Return a text that is not blank. A number becomes its digits, as in `"created": 1894`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
