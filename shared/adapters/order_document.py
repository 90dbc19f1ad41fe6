"""An order as a Firestore document, and back, with nothing lost."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter

from shared.domain.order import Order

ORDER: Final = TypeAdapter(Order)


def encode(order: Order) -> dict[str, Any]:
    """Return the document: every field, times as times, so that Firestore can compare them."""
    document: dict[str, Any] = ORDER.dump_python(order)
    return document


def decode(document: Mapping[str, Any]) -> Order:
    """Return the order. Fields of a later version are left out; those an earlier one had not get their defaults."""
    return ORDER.validate_python(plain(document), extra="ignore")


def changes(before: Order, after: Order) -> dict[str, Any]:
    """Return the fields that differ: a spec may be large, and never changes."""
    names = (field.name for field in fields(Order))
    differing = {name for name in names if getattr(before, name) != getattr(after, name)}
    document: dict[str, Any] = ORDER.dump_python(after, include=differing)
    return document


def plain(value: Any) -> Any:
    """Return the value with Firestore's own subclass of datetime replaced by the standard one."""
    match value:
        case datetime():
            return datetime.combine(value.date(), value.timetz())
        case dict():
            return {name: plain(part) for name, part in value.items()}
        case list():
            return [plain(part) for part in value]
        case _:
            return value
