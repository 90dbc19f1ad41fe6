"""The heartbeat's loop: one request renews everything this launcher holds, and its answer says what to stop."""

import threading
from collections.abc import Sequence

import structlog

from launcher.clock import Clock
from launcher.held import Held, Wish
from launcher.outage import Backoff, Outage
from launcher.runs import Runs
from shared.api import HeartbeatAnswer, HeartbeatRequest, Hold
from shared.control_plane import ControlPlane, Refused, Unreachable

log = structlog.get_logger()


class HeartbeatLoop:
    """`every` is in seconds. Each run itself stops its machine before a lease that is not renewed ends."""

    def __init__(
        self, control_plane: ControlPlane, launcher: str, runs: Runs, every: float, outage: Outage, clock: Clock
    ) -> None:
        self._control_plane, self._launcher, self._runs = control_plane, launcher, runs
        self._every, self._outage, self._clock = every, outage, clock
        self._backoff = Backoff(clock.jitter)

    def run(self, over: threading.Event) -> None:
        while not over.is_set():
            self._clock.pause(self.beat(), over)

    def beat(self) -> float:
        """Send one heartbeat and return the seconds to wait before the next.

        It is sent although nothing is held, too: a launcher that waits for a bell would not know that it is cut off.
        """
        asked_at = self._clock.monotonic()
        try:
            answer = self._send(self._runs.held())
        except (Unreachable, Refused) as error:
            self._outage.goes_on(error)
            return min(self._backoff.next(), self._every)
        self._outage.ends()
        self._backoff.reset()
        self._obey(answer, asked_at)
        return self._every

    def _send(self, held: Sequence[Held]) -> HeartbeatAnswer:
        holds = tuple(one.hold for one in held)
        return self._control_plane.heartbeat(HeartbeatRequest(launcher=self._launcher, holds=holds))

    def _obey(self, answer: HeartbeatAnswer, asked_at: float) -> None:
        for renewed in answer.renewed:
            if (held := self._find(renewed.order_id, renewed.epoch)) is not None:
                held.renew(asked_at, renewed.lease_seconds)
        for stop in answer.stop:
            if (held := self._find(stop.order_id, stop.epoch)) is not None:
                log.info("asked to stop", order_id=stop.order_id, epoch=stop.epoch, why=stop.why)
                held.ask(Wish(stop.why))

    def _find(self, order_id: str, epoch: int) -> Held | None:
        return self._runs.find(Hold(order_id=order_id, epoch=epoch))
