"""What a launcher tells the control plane of an order, repeated until it is answered or no longer worth telling."""

import threading
from enum import Enum, auto

import structlog

from launcher.host.clock import Clock
from launcher.orders.assignment import Held
from launcher.orders.outage import Backoff, Outage
from shared.client import ControlPlane, Refused, Unreachable
from shared.wire.launchers import UpdateRequest

log = structlog.get_logger()


class Verdict(Enum):
    TAKEN = auto()
    REFUSED = auto()
    """The order is not ours any more, or has ended: there is nothing more to tell."""
    UNANSWERED = auto()


class Reports:
    def __init__(self, control_plane: ControlPlane, clock: Clock) -> None:
        self._control_plane, self._clock = control_plane, clock

    def send(self, held: Held, update: UpdateRequest, unless: threading.Event) -> Verdict:
        """Send the same request until it is answered, `unless` is set, or the lease is over."""
        backoff, outage = Backoff(self._clock.jitter), Outage(self._clock.monotonic, asked="reports")
        while True:
            try:
                self._control_plane.update(held.hold.order_id, update)
            except Unreachable as error:
                outage.goes_on(error)
            except Refused as refused:
                log.info("report refused", **held.hold.model_dump(), status=update.status, code=refused.code)
                return Verdict.REFUSED
            else:
                outage.ends()
                log.info("reported", **held.hold.model_dump(), status=update.status)
                return Verdict.TAKEN
            if unless.is_set() or not held.leased():
                return Verdict.UNANSWERED
            self._clock.pause(backoff.next(), unless)
