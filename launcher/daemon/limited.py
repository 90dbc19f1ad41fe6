"""The intake of a launcher that takes a limited number of orders: `--one-shot` and `--max-orders`.

It leaves the machines running without heartbeats. The next launcher adopts them.
"""

import sys
from collections.abc import Callable
from typing import Final

import structlog

from launcher.daemon.poll import PollingLoop
from launcher.orders.admission import Admission
from launcher.orders.assignments import Assignments
from launcher.orders.claims import OrderClaimer
from launcher.orders.mode import Mode
from shared.client_errors import Refused, Unreachable
from shared.lines import Lines
from shared.log_events import LogEvent

CLAIM_WAIT_SECONDS: Final = 2
"""How long the only claim waits: the control plane's answer that there is no order may be a second old."""

log = structlog.get_logger()


class Limited:
    """In the mode ONE_SHOT, an order that fails or cannot be claimed is the launcher's own failure."""

    def __init__(
        self,
        polling: PollingLoop,
        claims: OrderClaimer,
        assignments: Assignments,
        admission: Admission,
        limit: int,
        mode: Mode,
    ) -> None:
        """`limit` is the number of orders to take."""
        self._polling, self._claims, self._assignments, self._admission = polling, claims, assignments, admission
        self._left, self._mode = limit, mode
        self._failed = False

    @property
    def failed(self) -> bool:
        return self._mode is Mode.ONE_SHOT and (self._failed or self._assignments.lost > 0)

    def count_booting(self) -> None:
        """Lower the limit by the orders that an earlier launcher left booting. Call it before any heartbeat."""
        self._left -= self._assignments.booting()

    def run(self) -> None:
        """Take the orders, and return when all of them run or have ended."""
        if self._mode is not Mode.ONE_SHOT:
            self._polling.run(self._left)
        elif self._left > 0:
            self._take_one()
        self._assignments.await_settled()

    def _take_one(self) -> None:
        if not any(self._admission.room(lane) > 0 for lane in self._claims.lanes):
            log.error(LogEvent.NO_ROOM, message="This host has no room for a machine now: no order was claimed.")
            self._failed = True
            return
        room = self._admission.reserve_when_free(self._claims.lanes)
        if room is None:  # the launcher is shutting down
            return
        try:
            self._polling.claim(room, CLAIM_WAIT_SECONDS)
        except (Unreachable, Refused) as error:
            log.error(LogEvent.CLAIM_FAILED, message="No order could be claimed.", error=str(error))
            self._failed = True


def printer() -> Callable[[str], None]:
    """Return a function that prints a line on standard output, for the person who started the launcher."""
    lines = Lines(lambda: sys.stdout)

    def announce(line: str) -> None:
        lines.write(f"{line}\n")
        if lines.lost:
            log.warning(LogEvent.OUTPUT_LOST, message="Standard output takes no more lines.", line=line)

    return announce


def log_only(_line: str) -> None:
    """Print nothing: a daemon has its log."""
