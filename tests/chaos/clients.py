"""The clients of a chaos run: each order is asked for with its own key until it is answered; all answers are noted."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.control_plane import ControlPlane, Refused, Unreachable
from tests.chaos.checker import Asked
from tests.chaos.schedule import Wanted

AGAIN_SECONDS: Final = 0.5
EVERY: Final = 7
"""Every so many orders are asked for once more after the answer."""


@dataclass
class _Entry:
    wanted: Wanted
    answered: threading.Event = field(default_factory=threading.Event)
    answers: set[str] = field(default_factory=set)
    refusal: str | None = None


class Clients:
    """`over` ends everything that still waits for an answer."""

    def __init__(self, api: ControlPlane, over: threading.Event) -> None:
        self._api, self._over = api, over
        self._entries: dict[str, _Entry] = {}

    def place(self, wanted: Wanted) -> None:
        entry = self._entries.setdefault(wanted.key, _Entry(wanted))
        for _ in range(1 if wanted.number % EVERY else 2):
            self._until_answered(entry)

    def cancel(self, wanted: Wanted) -> None:
        """Wish an order stopped, once it is known; one that has ended is left as it is."""
        entry = self._entries.setdefault(wanted.key, _Entry(wanted))
        while not entry.answered.wait(AGAIN_SECONDS):
            if self._over.is_set():
                return
        for order_id in entry.answers:
            self._until_cancelled(order_id)

    def placed(self) -> Sequence[tuple[Wanted, str]]:
        """Return what was answered so far, with the order's id."""
        return [(entry.wanted, min(entry.answers)) for entry in list(self._entries.values()) if entry.answers]

    def asked(self) -> tuple[Asked, ...]:
        return tuple(
            Asked(entry.wanted, frozenset(entry.answers), entry.refusal) for entry in list(self._entries.values())
        )

    def _until_answered(self, entry: _Entry) -> None:
        while not self._over.is_set():
            try:
                entry.answers.add(self._api.create_order(entry.wanted.spec, entry.wanted.key).id)
            except Unreachable:
                self._over.wait(AGAIN_SECONDS)
                continue
            except Refused as refused:
                entry.refusal = str(refused)
            entry.answered.set()
            return

    def _until_cancelled(self, order_id: str) -> None:
        while not self._over.is_set():
            try:
                self._api.cancel_order(order_id)
            except Unreachable:
                self._over.wait(AGAIN_SECONDS)
            except Refused:
                return
            else:
                return
