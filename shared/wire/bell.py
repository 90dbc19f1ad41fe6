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
    """Says that an order waits. It only routes: a launcher reads the order itself from the control plane."""

    order_id: str
    lane: str


class MalformedBell(ValueError):
    """The message is not a bell: an attribute is missing or empty, or is not an order's id."""


def to_attributes(bell: Bell) -> dict[str, str]:
    return {ORDER_ID: bell.order_id, LANE: bell.lane}


def from_attributes(attributes: Mapping[str, str]) -> Bell:
    """Parse a bell. Raises MalformedBell if an attribute is missing or empty, or if no order can have that id."""
    order_id, lane = attributes.get(ORDER_ID), attributes.get(LANE)
    if not order_id or not lane:
        raise MalformedBell(f"A bell needs the attributes {ORDER_ID} and {LANE}; this one has {sorted(attributes)}.")
    try:
        return Bell(ID.validate_python(order_id), lane)
    except ValidationError:
        raise MalformedBell(f"The attribute {ORDER_ID} is not an order's id.") from None
