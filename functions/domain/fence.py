"""The fence: what a former holder of an order sends changes nothing. A launcher that never held it learns nothing."""

from typing import Final

from functions.domain import request_ids
from functions.domain.holder import are_one
from functions.domain.order import Order
from functions.domain.refusals import LeaseLost, NotFound

NO_ORDER: Final = "There is no such order."
"""The same text as of an order that does not exist."""


def fence(order: Order, epoch: int, launcher: str | None = None) -> None:
    """Refuse requests from a former holder: the launcher, or the worker in its machine.

    `launcher` is the sender's holder text, or None if the sender is a worker. If the order has ended, its last epoch
    passes, because no rule allows a change then. Raises LeaseLost.
    """
    if epoch != order.epoch:
        raise LeaseLost(f"Epoch {epoch} of this order is over; the present one is {order.epoch}.")
    if order.final:
        return
    if order.lease is None:
        raise LeaseLost(f"The lease of epoch {epoch} is over; the order waits to be claimed again.")
    if launcher is not None and not are_one(launcher, order.lease.launcher):
        raise LeaseLost(f"Epoch {epoch} of this order is held by another launcher.")


def require_last_holder(order: Order, epoch: int, launcher: str) -> None:
    """Refuse the end of a machine of an ended order, unless this launcher held the order last. Raises LeaseLost."""
    if order.claimed_by is None or not are_one(launcher, order.claimed_by):
        raise LeaseLost(f"Epoch {epoch} of this order was held by another launcher.")


def has_held(order: Order, launcher: str) -> bool:
    """Return whether the launcher holds the order, or held it not long ago, as far as the order remembers."""
    last = () if order.claimed_by is None else (order.claimed_by,)
    if order.held_by(launcher) or any(are_one(launcher, holder) for holder in (*last, *order.former)):
        return True
    return any(request_ids.is_of_launcher(request_id, launcher) for request_id in order.recent)


def require_has_held(order: Order, launcher: str) -> None:
    """Raise NotFound, as if there were no such order, unless the launcher holds the order or held it before.

    Otherwise any launcher would learn from the other refusals that an order exists, who holds it, and its epoch.
    """
    if not has_held(order, launcher):
        raise NotFound(NO_ORDER)
