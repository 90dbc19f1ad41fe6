"""The clients of a chaos run: each repeats its requests until they are answered, and records all answers."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from shared.client import ControlPlane
from shared.client_errors import ControlPlaneError
from shared.domain.order import FINAL, State
from shared.domain.spec import OrderKind
from shared.wire.orders import OrderView
from tests.chaos.observations import Asked, Downloaded, Purged, Requeued
from tests.chaos.schedule import PlannedOrder
from tests.harness.clients import RETRY_SECONDS, GaveUp, download, until_answered

CREATED_TWICE: Final = 7
"""Every so many orders are created once more after the answer."""
TIMES: Final = 2
"""How often an order is requeued, purged or downloaded: the second time changes nothing."""
PAGE: Final = 200
SURE_SECONDS: Final = 150.0
"""How long a client waits for an order to requeue, purge or download, if every run is to have that."""

Answer = TypeVar("Answer")


@dataclass
class _Entry:
    planned: PlannedOrder
    answered: threading.Event = field(default_factory=threading.Event)
    answers: set[str] = field(default_factory=set)
    refusal: str | None = None


class Clients:
    """`over` ends every wait for an answer."""

    def __init__(self, api: ControlPlane, over: threading.Event) -> None:
        self._api, self._over = api, over
        self._entries: dict[str, _Entry] = {}
        self._choosing = threading.Lock()
        self._chosen: set[str] = set()
        self._requeues: list[Requeued] = []
        self._purges: list[Purged] = []
        self._downloads: list[Downloaded] = []

    def place(self, planned: PlannedOrder) -> None:
        entry = self._entries.setdefault(planned.key, _Entry(planned))
        times = 1 if planned.number % CREATED_TWICE else 2
        answers, entry.refusal = self._repeated(lambda: self._api.create_order(planned.spec, planned.key).id, times)
        entry.answers |= set(answers)
        if answers or entry.refusal:
            entry.answered.set()

    def cancel(self, planned: PlannedOrder) -> None:
        """Cancel an order once it was created; if it has ended, the refusal is as good."""
        entry = self._entries.setdefault(planned.key, _Entry(planned))
        while not entry.answered.wait(RETRY_SECONDS):
            if self._over.is_set():
                return
        for order_id in entry.answers:
            self._repeated(lambda order_id=order_id: self._api.cancel_order(order_id), times=1)  # type: ignore[misc]

    def requeue(self, draw: float, sure: bool = False) -> None:
        """Requeue a failed order, one of those that the list of failed orders has.

        If there is none, do nothing; or, if `sure`, wait for one until any order has been requeued. The same is true of
        `purge` and `download`.
        """

        def choose() -> OrderView | None:
            return self._choose(draw, State.FAILED, lambda order: order.kind is not OrderKind.CAPACITY)

        if (chosen := self._await_choice(choose, self._requeues, sure)) is not None:
            answers, refusal = self._repeated(lambda: self._api.requeue_order(chosen.id).id)
            self._requeues.append(Requeued(chosen.id, frozenset(answers), refusal))

    def purge(self, draw: float, sure: bool = False) -> None:
        def choose() -> OrderView | None:
            return self._choose(draw, None, lambda order: order.state in FINAL - {State.FAILED})

        if (chosen := self._await_choice(choose, self._purges, sure)) is not None:
            answers, refusal = self._repeated(lambda: self._api.purge_order(chosen.id))
            self._purges.append(Purged(chosen.id, bool(answers), refusal))

    def download(self, draw: float, sure: bool = False) -> None:
        def choose() -> OrderView | None:
            return self._choose(draw, State.SUCCEEDED, lambda order: order.output is not None)

        if (chosen := self._await_choice(choose, self._downloads, sure)) is not None:
            answers, refusal = self._repeated(lambda: download(self._api, chosen))
            contents: list[bytes | None] = [*set(answers)]
            self._downloads.extend(Downloaded(chosen.id, content, refusal) for content in contents or [None])

    def placed(self) -> Sequence[tuple[PlannedOrder, str]]:
        """Return the orders whose creation was answered so far, with their ids."""
        return [(entry.planned, min(entry.answers)) for entry in list(self._entries.values()) if entry.answers]

    def kept(self) -> frozenset[str]:
        """Return the ids of the orders that are to run until the end."""
        return frozenset(order_id for planned, order_id in self.placed() if planned.keep)

    def asked(self) -> tuple[Asked, ...]:
        return tuple(
            Asked(entry.planned, frozenset(entry.answers), entry.refusal) for entry in list(self._entries.values())
        )

    def requeues(self) -> tuple[Requeued, ...]:
        return tuple(self._requeues)

    def purges(self) -> tuple[Purged, ...]:
        return tuple(self._purges)

    def downloads(self) -> tuple[Downloaded, ...]:
        return tuple(self._downloads)

    def _await_choice(
        self, choose: Callable[[], OrderView | None], done: Sequence[object], sure: bool
    ) -> OrderView | None:
        """Return the first order that can be chosen; None if there is none, after a wait if `sure` and nothing is
        `done`.
        """
        deadline = time.monotonic() + SURE_SECONDS
        while (chosen := choose()) is None and sure and not done and time.monotonic() < deadline:
            if self._over.wait(RETRY_SECONDS):
                break
        return chosen

    def _choose(self, draw: float, state: State | None, fit: Callable[[OrderView], bool]) -> OrderView | None:
        """Return one of our own orders in this state. Each is chosen once, since a purged one is gone afterwards."""
        pages, _ = self._repeated(lambda: self._api.list_orders(state=state, limit=PAGE).orders, times=1)
        mine = {order_id for entry in list(self._entries.values()) for order_id in entry.answers}
        with self._choosing:
            found = [
                order
                for page in pages
                for order in page
                if order.id in mine and order.id not in self._chosen and fit(order)
            ]
            if not found:
                return None
            chosen = found[int(draw * len(found))]
            self._chosen.add(chosen.id)
            return chosen

    def _repeated(self, call: Callable[[], Answer], times: int = TIMES) -> tuple[list[Answer], str | None]:
        """Make a call this number of times, each until it is answered; return the answers, and the refusal that ended
        it.
        """
        answers: list[Answer] = []
        try:
            answers.extend(until_answered(call, self._over) for _ in range(times))
        except GaveUp:
            return answers, None
        except ControlPlaneError as refused:
            return answers, str(refused)
        return answers, None
