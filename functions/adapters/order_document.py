"""Converts an order to a Firestore document, and back, without loss.

The identity of a lease's launcher is a separate field: an instance of an earlier version ignores it, and recognises the
launcher by its name, as before.
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter

from functions.domain.holder import MARK, split_holder
from functions.domain.order import Order

ORDER: Final = TypeAdapter(Order)
IDENTITY: Final = "identity"


def encode(order: Order) -> dict[str, Any]:
    """Return the document with every field. Times stay datetimes, so that Firestore can compare them."""
    return _with_identity_apart(ORDER.dump_python(order))


def decode(document: Mapping[str, Any]) -> Order:
    """Return the order. Fields that a later version added are ignored; fields that an earlier one lacked get their
    defaults.
    """
    return ORDER.validate_python(_with_identity_joined(plain(document)), extra="ignore")


def changes(before: Order, after: Order) -> dict[str, Any]:
    """Return only the fields that differ: a spec may be large, and never changes."""
    names = (field.name for field in fields(Order))
    differing = {name for name in names if getattr(before, name) != getattr(after, name)}
    return _with_identity_apart(ORDER.dump_python(after, include=differing))


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


def _with_identity_apart(document: dict[str, Any]) -> dict[str, Any]:
    lease = document.get("lease")
    if lease is None:
        return document
    name, identity = split_holder(lease["launcher"])
    return document if identity is None else document | {"lease": lease | {"launcher": name, IDENTITY: identity}}


def _with_identity_joined(document: dict[str, Any]) -> dict[str, Any]:
    lease = document.get("lease")
    if not isinstance(lease, dict) or not all(isinstance(lease.get(name), str) for name in ("launcher", IDENTITY)):
        return document  # without identity; or unreadable, which the validation says
    return document | {"lease": lease | {"launcher": f"{lease['launcher']}{MARK}{lease[IDENTITY]}"}}
