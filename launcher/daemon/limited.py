"""A launcher that takes so many orders and goes: `--one-shot` and `--max-orders`.

It keeps no watch over what runs: its machines are left to themselves, for the next launcher to find.
"""

from typing import Final

import structlog

from launcher.daemon.poll import PollingLoop
from launcher.orders.admission import Admission
from launcher.orders.assignments import Runs
from launcher.orders.claims import Claims
from shared.client import Refused, Unreachable

LOOK_SECONDS: Final = 2
"""How long the one claim waits: that there is no order may be a second old where the control plane says so."""

log = structlog.get_logger()


class Bounded:
    """`one_shot`: an order that fails, or cannot be asked for, is the launcher's own failure."""

    def __init__(
        self, polling: PollingLoop, claims: Claims, runs: Runs, admission: Admission, most: int, one_shot: bool
    ) -> None:
        self._polling, self._claims, self._runs, self._admission = polling, claims, runs, admission
        self._left, self._one_shot = most, one_shot
        self._failed = False

    @property
    def failed(self) -> bool:
        return self._one_shot and (self._failed or self._runs.lost > 0)

    def count_what_boots(self) -> None:
        """Take so many orders less as an earlier launcher left booting. Call it before anything tells that they run."""
        self._left -= self._runs.booting()

    def run(self) -> None:
        """Take the orders, and return when none of them still boots."""
        if not self._one_shot:
            self._polling.run(self._left)
        elif self._left > 0:
            self._take_one()
        self._runs.await_settled()

    def _take_one(self) -> None:
        if not any(self._admission.room(lane) > 0 for lane in self._claims.lanes):
            log.error("there is no room for a machine now")
            self._failed = True
            return
        room = self._admission.reserve_when_free(self._claims.lanes)
        if room is None:  # told to go meanwhile
            return
        try:
            self._polling.claim(room, LOOK_SECONDS)
        except (Unreachable, Refused) as error:
            log.error("no order can be claimed", error=str(error))
            self._failed = True
