"""Claiming orders, by id or the next that fits."""

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import structlog
from cachetools import LRUCache

from launcher.orders.endings import Endings
from launcher.orders.lanes import Lanes
from shared.client import ControlPlane, LaterOrder, Refused
from shared.domain.order import Failure, Reason
from shared.wire.launchers import ClaimById, Claimed, ClaimNext, ClaimRequest

WAIT_SECONDS: Final = 5
"""How long a claim of the next order waits for one; the control plane allows 30 s, but a launcher that goes down has to
wait for the answer, which may bring it an order. The control plane's reads are the same: it looks once a second."""
NEXT: Final = "next order"
REMEMBERED: Final = 1000
"""How many unanswered claims are remembered: the bell of one may never come again."""

log = structlog.get_logger()


class Claims:
    """A claim without an answer may have been carried out: asked again, it is the same request, so that it is answered
    with the order that it won. Not `attended`: the machines are left once they run.
    """

    def __init__(self, control_plane: ControlPlane, launcher: str, lanes: Lanes, attended: bool = True) -> None:
        self.lanes = lanes
        self._control_plane, self._launcher, self._attended = control_plane, launcher, attended
        self._unanswered: LRUCache[str, str] = LRUCache(REMEMBERED)

    def by_id(self, order_id: str) -> Claimed | None:
        """Return the order, claimed; None where there is nothing to be had any more. Raises Unreachable, Refused."""
        request = ClaimById(
            request_id=self._unanswered.setdefault(order_id, str(uuid4())),
            launcher=self._launcher,
            order_id=order_id,
            lanes=self.lanes.names,
            attended=self._attended,
        )
        return self._ask(request, order_id)

    def next(self, lanes: Sequence[str], wait_seconds: int = WAIT_SECONDS) -> Claimed | None:
        """Wait for an order of these lanes, and return it, claimed; None where none came. Raises Unreachable, Refused.

        One that an unanswered claim won is returned whatever its lane.
        """
        request = ClaimNext(
            request_id=self._unanswered.setdefault(NEXT, str(uuid4())),
            launcher=self._launcher,
            lanes=tuple(lanes),
            attended=self._attended,
            wait_seconds=wait_seconds,
        )
        return self._ask(request, NEXT)

    def _ask(self, request: ClaimRequest, remembered: str) -> Claimed | None:
        try:
            claimed = self._control_plane.claim(request).claimed
        except Refused as refused:
            self._unanswered.pop(remembered, None)
            if refused.code == "not_found":
                return None
            raise
        except LaterOrder as later:
            self._hand_back(later)
            claimed = None
        self._unanswered.pop(remembered, None)
        return claimed

    def _hand_back(self, later: LaterOrder) -> None:
        """Have another launcher run it; this one is not offered it again at once. Raises Unreachable."""
        log.error("an order of a later version is handed back", order_id=later.order_id, epoch=later.epoch)
        ending = Endings(self._launcher).failed(later.epoch, Reason.NO_CAPACITY, str(later), Failure.NO_CAPACITY)
        try:
            self._control_plane.update(later.order_id, ending)
        except Refused as refused:  # its lease is over, or it has ended
            log.info("report refused", order_id=later.order_id, epoch=later.epoch, code=refused.code)
