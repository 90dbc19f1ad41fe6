"""Following an order to its end by asking for it."""

import time
from collections.abc import Callable
from typing import Final

from shared.client import ControlPlane, ControlPlaneError, Unreachable
from shared.domain.order import FINAL, State
from shared.wire.orders import OrderView

LOOK_SECONDS: Final = 0.5


class TookTooLong(ControlPlaneError):
    """The order had not ended in time; it goes on, and can be watched again."""


def follow(
    api: ControlPlane, order_id: str, timeout: float, seen: Callable[[OrderView], None], until: frozenset[State] = FINAL
) -> OrderView:
    """Return the order once its state is in `until`, or final; call `seen` at each change of state.

    Keeps asking while the control plane cannot be reached. Raises TookTooLong after `timeout` seconds, and Refused.
    """
    deadline = time.monotonic() + timeout
    shown = None
    while True:
        order = _ask(api, order_id)
        if order is not None and order.state != shown:
            shown = order.state
            seen(order)
        if order is not None and (order.state in until or order.state in FINAL):
            return order
        if time.monotonic() > deadline:
            raise TookTooLong(f"Order {order_id} is {shown or 'not known'} after {timeout:.0f} s; it goes on.")
        time.sleep(LOOK_SECONDS)


def _ask(api: ControlPlane, order_id: str) -> OrderView | None:
    try:
        return api.get_order(order_id)
    except Unreachable:
        return None
