"""Removes orders that have ended, with all that their workers left in the bucket."""

from dataclasses import dataclass

from functions.domain import request_ids
from functions.domain.refusals import NotFound
from functions.domain.rules import require_ended
from functions.engine.orders import require_owned
from functions.engine.outputs import Outputs
from functions.ports.orders import OrderStore
from shared.crash_points import Point, reach


@dataclass(frozen=True, slots=True)
class Purges:
    store: OrderStore
    outputs: Outputs

    def purge(self, order_id: str, owner: str | None) -> None:
        """Remove an ended order and all its output. Do nothing if there is no such order. Raises WrongState.

        `owner` is the caller's account, or None for an operator.
        """
        try:
            order = require_owned(self.store, order_id, owner).order
        except NotFound:
            return
        require_ended(order)
        self.outputs.discard(order)
        reach(Point.PURGE_DELETED)
        self.store.remove(order_id, request_ids.requeue_key(order_id))
        reach(Point.PURGE_REMOVED)
