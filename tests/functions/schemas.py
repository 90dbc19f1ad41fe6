"""The maximum sizes that a route's schema allows."""

from collections.abc import Iterator, Mapping
from math import inf
from re import _parser  # nothing public tells how long a match can be
from typing import Any, Final

from functions.http.routing import Route
from tests.functions.junk import EVIDENCE

ESCAPED: Final = len(r"\ud83d\ude80")
"""Bytes of a character of any text, as JSON may write it."""
NUMBER: Final = 25
NEGATED: Final = (r"[^", r"\P")
"""What is in a pattern that any text but a few may match."""

UNBOUNDED: Final = 2**31
"""What the parser of patterns says of a repetition without an end, or more."""

Schema = Mapping[str, Any]


def body_of(route: Route) -> Schema | None:
    body = EVIDENCE.get(route.handler, route.signature.body)
    return None if body is None else body.json_schema()


def query_of(route: Route) -> Schema | None:
    return None if route.signature.query is None else route.signature.query.model_json_schema()


def within(schema: Any) -> Iterator[Schema]:
    """Yield every schema that is in this one."""
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from within(part)


def most_bytes(schema: Schema, definitions: Schema | None = None) -> float:
    """Return the size, in bytes, of the longest JSON that a client's library may write for a value."""
    named = {**(definitions or {}), **schema.get("$defs", {})}
    if "$ref" in schema:
        return most_bytes(named[schema["$ref"].rsplit("/", 1)[-1]], named)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return max(most_bytes(choice, named) for choice in choices)
    if fixed := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return max(len(str(one)) for one in fixed) + 2
    match schema.get("type"):
        case "object":
            return 2 + _members(schema, named)
        case "array":
            return 2 + float(schema.get("maxItems", inf)) * (most_bytes(schema["items"], named) + 2)
        case "string":
            return 2 + _characters(schema)
        case _:
            return NUMBER


def most_characters(schema: Schema) -> float:
    """Return how many characters a text has at most."""
    pattern, most = schema.get("pattern", NEGATED[0]), schema.get("maxLength", inf)
    return float(most) if _anything(pattern) else min(most, _width(pattern))


def _members(schema: Schema, named: Schema) -> float:
    known = sum(len(name) + 6 + most_bytes(part, named) for name, part in schema.get("properties", {}).items())
    if not isinstance(more := schema.get("additionalProperties"), dict):
        return known
    name = most_bytes({"type": "string", **schema.get("propertyNames", {})}, named)
    return known + float(schema.get("maxProperties", inf)) * (name + 4 + most_bytes(more, named))


def _characters(schema: Schema) -> float:
    """Return the size of a text in bytes. No library escapes the characters that our patterns allow."""
    return most_characters(schema) * (ESCAPED if _anything(schema.get("pattern", NEGATED[0])) else 1)


def _anything(pattern: str) -> bool:
    return any(sign in pattern for sign in NEGATED)


def _width(pattern: str) -> float:
    width = int(_parser.parse(pattern).getwidth()[1])
    return inf if width >= UNBOUNDED else width
