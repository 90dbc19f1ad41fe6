"""The orders in this launcher's hands, each with a thread of its own."""

import threading
from collections.abc import Callable

import structlog

from launcher.clock import Clock
from launcher.held import Held, Wish
from launcher.slots import Slot, Slots
from shared.api import Claimed, Hold

Run = Callable[[Held], None]

log = structlog.get_logger()


class Runs:
    def __init__(self, run: Run, slots: Slots, clock: Clock) -> None:
        self._run, self._slots, self._clock = run, slots, clock
        self._changed = threading.Condition()
        self._held: dict[Hold, Held] = {}
        self._closed = False

    def begin(self, claimed: Claimed, slot: Slot, asked_at: float) -> None:
        """Run an order in a reserved slot, which is freed at its end. One held already is not run twice.

        `asked_at` is the monotonic time just before it was claimed.
        """
        held = Held(claimed, asked_at, self._clock.monotonic)
        with self._changed:
            known = held.hold in self._held
            if not known:
                self._held[held.hold] = held
            if self._closed:
                held.ask(Wish.GOING_DOWN)
        if known:
            held.close()
            self._slots.free(slot)
            return
        log.info("order claimed", **held.hold.model_dump(), kind=claimed.spec.kind)
        self._slots.fill(slot)
        threading.Thread(target=self._until_the_end, args=(held, slot), name=f"run-{claimed.order_id}").start()

    def held(self) -> tuple[Held, ...]:
        with self._changed:
            return tuple(self._held.values())

    def find(self, hold: Hold) -> Held | None:
        with self._changed:
            return self._held.get(hold)

    def close(self) -> None:
        """Have every machine stopped and its order returned; those of orders that still come, too."""
        with self._changed:
            self._closed = True
            for held in self._held.values():
                held.ask(Wish.GOING_DOWN)

    def hurry(self) -> None:
        for held in self.held():
            held.hurry()

    def await_end(self) -> None:
        """Return when nothing is held."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held)

    def _until_the_end(self, held: Held, slot: Slot) -> None:
        try:
            self._run(held)
        finally:
            held.close()
            with self._changed:
                del self._held[held.hold]
                self._changed.notify_all()
            self._slots.free(slot)
