"""Who holds an order: a launcher of an account, at one epoch."""

from functions.domain.holder import are_one, holder_of
from functions.domain.order import Order
from functions.domain.refusals import LeaseLost, NotFound
from functions.http.authentication import Principal
from functions.ports import OrderStore, Snapshot


def holder(launcher: Principal, name: str) -> str:
    """Return the holder's text in a lease."""
    return holder_of(launcher.account, name, launcher.identity)


def holds(order: Order, sender: str) -> bool:
    return order.lease is not None and are_one(order.lease.launcher, sender)


def find(store: OrderStore, order_id: str) -> Snapshot:
    """Return the order as it stands, to be changed. Raises NotFound, and Unavailable if another version wrote it."""
    try:
        return store.look(order_id)
    except NotFound:
        raise NotFound("There is no such order.") from None


def fence(order: Order, epoch: int) -> None:
    """Refuse an epoch that is over, even in a repeat of what was taken then. Raises LeaseLost."""
    if epoch != order.epoch:
        raise LeaseLost(f"Epoch {epoch} of this order is over; the present one is {order.epoch}.")
