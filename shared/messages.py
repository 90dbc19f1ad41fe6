"""The doorbell's message: routing attributes, no payload."""

from collections.abc import Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shared.api import OrderId
from shared.domain.refusals import Malformed
from shared.ports import Bell

ORDER_ID: Final = "order_id"
LANE: Final = "lane"

ID: Final[TypeAdapter[str]] = TypeAdapter(OrderId)


def to_attributes(bell: Bell) -> dict[str, str]:
    return {ORDER_ID: bell.order_id, LANE: bell.lane}


def from_attributes(attributes: Mapping[str, str]) -> Bell:
    """Raises Malformed where an attribute is missing or empty, or the order's id is one that no order can have."""
    order_id, lane = attributes.get(ORDER_ID), attributes.get(LANE)
    if not order_id or not lane:
        raise Malformed(f"A bell carries the attributes {ORDER_ID} and {LANE}; this one has {sorted(attributes)}.")
    try:
        return Bell(ID.validate_python(order_id), lane)
    except ValidationError:
        raise Malformed(f"A bell's attribute {ORDER_ID} is no order's id.") from None
