"""The fence: what a former holder of an order sends changes nothing."""

from functions.domain.holder import are_one
from functions.domain.order import Order
from functions.domain.refusals import LeaseLost


def fence(order: Order, epoch: int, launcher: str | None = None) -> None:
    """Refuse requests from a former holder: the launcher, or the worker in its machine. This is the only fence.

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
