"""The doorbell's message: routing attributes, no payload."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shared.wire.base import OrderId

ORDER_ID: Final = "order_id"
LANE: Final = "lane"

ID: Final[TypeAdapter[str]] = TypeAdapter(OrderId)


@dataclass(frozen=True, slots=True)
class Bell:
    """An order waits. Routing only: whoever hears it reads the order itself from the control plane."""

    order_id: str
    lane: str


class MalformedBell(ValueError):
    """A message that is no bell: its attributes are missing, empty or not an order's."""


def to_attributes(bell: Bell) -> dict[str, str]:
    return {ORDER_ID: bell.order_id, LANE: bell.lane}


def from_attributes(attributes: Mapping[str, str]) -> Bell:
    """Raises MalformedBell if an attribute is missing or empty, or the order's id is one that no order can have."""
    order_id, lane = attributes.get(ORDER_ID), attributes.get(LANE)
    if not order_id or not lane:
        raise MalformedBell(f"A bell carries the attributes {ORDER_ID} and {LANE}; this one has {sorted(attributes)}.")
    try:
        return Bell(ID.validate_python(order_id), lane)
    except ValidationError:
        raise MalformedBell(f"A bell's attribute {ORDER_ID} is no order's id.") from None
