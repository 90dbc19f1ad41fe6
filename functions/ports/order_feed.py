"""The port by which changes of orders are reported."""

from collections.abc import Callable
from typing import Protocol

from functions.ports.orders import Snapshot


class OrderFeed(Protocol):
    """Tells of changes in the order store as they happen, whichever instance makes them."""

    def follow(self, on_order: Callable[[Snapshot], None], on_gap: Callable[[], None]) -> Callable[[], None]:
        """From now on, call `on_order` with each order that becomes queued, and with each held order that is to stop.
        Return a function that ends this.

        An order may be reported again, and may have changed since. If the feed does not work at once, or after a fault,
        `on_gap` is called once it works: changes until then were perhaps not reported. The feed leaves out orders that
        this version cannot read. Both functions are called on another thread, or by the writer; they must not raise,
        wait, or end the feed.
        """
