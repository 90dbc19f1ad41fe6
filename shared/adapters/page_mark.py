"""The mark between two pages of orders: where the last one ended, in one opaque string."""

import base64
import binascii
from datetime import datetime

from shared.domain.order import Order
from shared.domain.refusals import Invalid


def mark(order: Order) -> str:
    """Return the `after` of the page that follows this order, newest first."""
    return base64.urlsafe_b64encode(f"{order.created_at.isoformat()} {order.id}".encode()).decode()


def read(text: str) -> tuple[datetime, str]:
    """Return when the marked order was created, and its id. Raises Invalid where the mark is not one of ours."""
    try:
        created_at, _, order_id = base64.b64decode(text, altchars=b"-_", validate=True).decode().partition(" ")
        position = datetime.fromisoformat(created_at), order_id
    except (binascii.Error, ValueError) as error:
        raise not_ours() from error
    if position[0].tzinfo is None or not order_id:
        raise not_ours()
    return position


def not_ours() -> Invalid:
    return Invalid("The page mark is not one of ours.", {"after": "pass the `next` of the page before"})
