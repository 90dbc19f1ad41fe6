"""The doorbell's loop: hear bells while there is room, claim what they name, and give back what is not ours to take."""

import threading
from typing import Final

import structlog

from launcher.claims import Claims
from launcher.clock import Clock
from launcher.outage import Backoff, Outage
from launcher.runs import Runs
from launcher.slots import Slot, Slots
from shared.control_plane import Refused, Unreachable
from shared.ports import Bell, BellListener

FOREIGN_SECONDS: Final = 1.0
"""How long a bell of another's lane is held before it goes back. The subscription's filter keeps them away; where it
is ignored, as by the emulator, the bell would be back at once, and over and over."""

log = structlog.get_logger()


class DoorbellLoop:
    def __init__(
        self, listener: BellListener, claims: Claims, runs: Runs, slots: Slots, outage: Outage, clock: Clock
    ) -> None:
        self._listener, self._claims, self._runs, self._slots = listener, claims, runs, slots
        self._outage, self._clock = outage, clock
        self._backoff = Backoff(clock.jitter)
        self._unserved = threading.Event()
        """A claim was not served: to hear more bells now would only give them back."""

    def run(self) -> None:
        """Listen for as many bells as there is room for, anew whenever that number changes, until the slots close."""
        while not self._slots.closed.is_set():
            if self._unserved.is_set():
                self._clock.pause(self._backoff.next(), self._slots.closed)
                self._unserved.clear()
            else:
                self._listen(self._slots.unfilled)

    def hear(self, bell: Bell) -> bool:
        """Claim the bell's order and start its run; return whether the bell has done its work."""
        if bell.lane not in self._claims.lanes:
            self._clock.pause(FOREIGN_SECONDS, self._slots.closed)
            return False
        slot = None if self._unserved.is_set() else self._slots.reserve()
        return slot is not None and self._claim(bell, slot)

    def _listen(self, most: int) -> None:
        listening = self._listener.listen(self.hear, most) if most > 0 else None
        self._slots.wait_until(lambda: self._slots.unfilled != most or self._interrupted())
        if listening is not None:
            listening.stop()

    def _interrupted(self) -> bool:
        return self._unserved.is_set() or self._slots.closed.is_set()

    def _claim(self, bell: Bell, slot: Slot) -> bool:
        try:
            claimed = self._claims.by_id(bell.order_id)
        except (Unreachable, Refused) as error:
            self._slots.free(slot)
            self._outage.goes_on(error)
            self._unserved.set()
            self._slots.wake()
            return False
        self._outage.ends()
        self._backoff.reset()
        if claimed is None:
            self._slots.free(slot)
        else:
            self._runs.begin(claimed, slot)
        return True
