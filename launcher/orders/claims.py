"""Claims orders, by id or the next that fits."""

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import structlog
from cachetools import LRUCache

from launcher.orders.lanes import Lanes
from launcher.orders.mode import Mode
from launcher.orders.reports import ReportBuilder, log_refused
from shared.client import ControlPlane
from shared.client_errors import LaterOrder, Refused
from shared.domain.order import Failure, Reason
from shared.log_events import LogEvent
from shared.wire.launchers import ClaimById, Claimed, ClaimNext, ClaimRequest

WAIT_SECONDS: Final = 5
"""How long a claim of the next order waits. The control plane allows 30 s, but a shutdown waits for the answer, which
may bring an order. The control plane looks for one once a second in either case.
"""
NEXT: Final = "next order"
MAX_UNANSWERED: Final = 1000
"""The number of unanswered claims that are remembered: the bell of one may never come again."""

log = structlog.get_logger()


class OrderClaimer:
    """Claims orders. A claim without an answer may have been carried out, so it is sent again as the same request, and
    is answered with the order that it won.
    """

    def __init__(self, control_plane: ControlPlane, launcher: str, lanes: Lanes, mode: Mode = Mode.DAEMON) -> None:
        self.lanes = lanes
        self._control_plane, self._launcher, self._mode = control_plane, launcher, mode
        self._unanswered: LRUCache[str, str] = LRUCache(MAX_UNANSWERED)

    def by_id(self, order_id: str) -> Claimed | None:
        """Answer the bell of this order: claim it, or another of its lane whose turn it is, and return that order; None
        if there is none. Raises Unreachable, Refused.
        """
        request = ClaimById(
            request_id=self._unanswered.setdefault(order_id, str(uuid4())),
            launcher=self._launcher,
            order_id=order_id,
            lanes=self.lanes.names,
            attended=self._mode.attended,
        )
        return self._ask(request, order_id)

    def next(self, lanes: Sequence[str], wait_seconds: int = WAIT_SECONDS) -> Claimed | None:
        """Wait up to `wait_seconds` for an order of these lanes, claim it and return it; None if none came.

        An order that an unanswered claim won is returned whatever its lane. Raises Unreachable, Refused.
        """
        request = ClaimNext(
            request_id=self._unanswered.setdefault(NEXT, str(uuid4())),
            launcher=self._launcher,
            lanes=tuple(lanes),
            attended=self._mode.attended,
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
        """Return the order for another launcher; this one is not offered it again at once. Raises Unreachable."""
        log.error(
            LogEvent.ORDER_OF_LATER_VERSION,
            message="The order was written by a later version, and is returned for another launcher.",
            order_id=later.order_id,
            epoch=later.epoch,
        )
        builder = ReportBuilder(self._launcher)
        report = builder.failed(later.epoch, Reason.NO_CAPACITY, str(later), Failure.NO_CAPACITY)
        try:
            self._control_plane.update(later.order_id, report)
        except Refused as refused:  # its lease or the order itself has ended
            log_refused(later.order_id, report, refused)
