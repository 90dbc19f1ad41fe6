"""The mark between two pages of orders or records: an opaque string that says where the last page ended."""

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime
from typing import Final

from functions.domain.order import Order
from functions.domain.refusals import Invalid
from shared.domain.order import ORDER_ID_PATTERN

ORDER_ID: Final = re.compile(ORDER_ID_PATTERN)
"""The only ids that a mark may hold: in a document's name, `__…__`, `.` and `/` have a meaning to Firestore.
"""


def mark(order: Order) -> str:
    """Return the `after` of the page that follows this order."""
    return mark_at(order.created_at, order.id)


def mark_at(created_at: datetime, order_id: str) -> str:
    """Return the `after` of the page that follows the order with this creation time and id."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {order_id}".encode()).decode()


def name_of(id_: str) -> str:
    """Return the name of a record's document, which a mark may hold, whatever characters the id has."""
    return hashlib.sha256(id_.encode()).hexdigest()


def read(text: str) -> tuple[datetime, str]:
    """Return the marked order's creation time and id. Raises Invalid if this module did not make the mark."""
    try:
        written, _, order_id = base64.b64decode(text, altchars=b"-_", validate=True).decode().partition(" ")
        created_at = datetime.fromisoformat(written)
        if created_at.tzinfo is None:
            raise _not_ours()
        created_at = created_at.astimezone(UTC)
    except (binascii.Error, ValueError, OverflowError) as error:
        raise _not_ours() from error
    if not ORDER_ID.fullmatch(order_id):
        raise _not_ours()
    return created_at, order_id


def _not_ours() -> Invalid:
    return Invalid("The page mark is not one of ours.", {"after": "pass the `next` of the page before"})
