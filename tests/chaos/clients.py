"""The clients of a chaos run: each order is asked for with its own key until it is answered; all answers are noted."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from shared.client import ControlPlane, ControlPlaneError, Refused, Unreachable
from shared.domain.order import FINAL, State
from shared.domain.spec import OrderKind
from shared.wire.orders import OrderView
from tests.chaos.observations import Asked, Downloaded, Purged, Requeue
from tests.chaos.schedule import Wanted

AGAIN_SECONDS: Final = 0.5
EVERY: Final = 7
"""Every so many orders are asked for once more after the answer."""
TIMES: Final = 2
"""How often an order is placed again, removed or fetched: twice is as once."""
PAGE: Final = 200

Answer = TypeVar("Answer")


@dataclass
class _Entry:
    wanted: Wanted
    answered: threading.Event = field(default_factory=threading.Event)
    answers: set[str] = field(default_factory=set)
    refusal: str | None = None
    asked: bool = False
    """It is asked for no more."""


class Clients:
    """`over` ends everything that still waits for an answer."""

    def __init__(self, api: ControlPlane, over: threading.Event) -> None:
        self._api, self._over = api, over
        self._entries: dict[str, _Entry] = {}
        self._choosing = threading.Lock()
        self._chosen: set[str] = set()
        self._requeues: list[Requeue] = []
        self._purges: list[Purged] = []
        self._downloads: list[Downloaded] = []

    def place(self, wanted: Wanted) -> None:
        entry = self._entries.setdefault(wanted.key, _Entry(wanted))
        for _ in range(1 if wanted.number % EVERY else 2):
            self._until_answered(entry)
        entry.asked = True

    def cancel(self, wanted: Wanted) -> None:
        """Wish an order stopped, once it is known; one that has ended is left as it is."""
        entry = self._entries.setdefault(wanted.key, _Entry(wanted))
        while not entry.answered.wait(AGAIN_SECONDS):
            if self._over.is_set():
                return
        for order_id in entry.answers:
            self._until_cancelled(order_id)

    def requeue(self, draw: float) -> None:
        """Have a failed order placed again: the dead-letter view says which there are."""
        chosen = self._choose(draw, State.FAILED, lambda order: order.kind is not OrderKind.CAPACITY)
        if chosen is not None:
            answers, refusal = self._repeated(lambda: self._api.requeue_order(chosen.id).id)
            self._requeues.append(Requeue(chosen.id, frozenset(answers), refusal))

    def purge(self, draw: float) -> None:
        chosen = self._choose(draw, None, lambda order: order.state in FINAL - {State.FAILED})
        if chosen is not None:
            answers, refusal = self._repeated(lambda: self._api.purge_order(chosen.id))
            self._purges.append(Purged(chosen.id, bool(answers), refusal))

    def download(self, draw: float) -> None:
        chosen = self._choose(draw, State.SUCCEEDED, lambda order: order.output is not None)
        if chosen is not None:
            answers, refusal = self._repeated(lambda: self._fetch(chosen))
            contents: list[bytes | None] = [*set(answers)]
            self._downloads.extend(Downloaded(chosen.id, content, refusal) for content in contents or [None])

    def placed(self) -> Sequence[tuple[Wanted, str]]:
        """Return what was answered so far, with the order's id."""
        return [(entry.wanted, min(entry.answers)) for entry in list(self._entries.values()) if entry.answers]

    def asked(self) -> tuple[Asked, ...]:
        return tuple(
            Asked(entry.wanted, frozenset(entry.answers), entry.refusal) for entry in list(self._entries.values())
        )

    def requeues(self) -> tuple[Requeue, ...]:
        return tuple(self._requeues)

    def purges(self) -> tuple[Purged, ...]:
        return tuple(self._purges)

    def downloads(self) -> tuple[Downloaded, ...]:
        return tuple(self._downloads)

    def _choose(self, draw: float, state: State | None, fit: Callable[[OrderView], bool]) -> OrderView | None:
        """Return one of our own orders in this state; each is chosen once: what is removed can be asked no more."""
        pages, _ = self._repeated(lambda: self._api.list_orders(state=state, limit=PAGE).orders, times=1)
        mine = {order_id for entry in list(self._entries.values()) if entry.asked for order_id in entry.answers}
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

    def _fetch(self, order: OrderView) -> bytes:
        with TemporaryDirectory(prefix="launchyard-chaos-") as folder:
            file = Path(folder) / "output"
            self._api.download_output(order, file)
            return file.read_bytes()

    def _repeated(self, call: Callable[[], Answer], times: int = TIMES) -> tuple[list[Answer], str | None]:
        """Call until it is answered, so many times over; return the answers, and the refusal that ended it."""
        answers: list[Answer] = []
        while len(answers) < times and not self._over.is_set():
            try:
                answers.append(call())
            except Unreachable:
                self._over.wait(AGAIN_SECONDS)
            except ControlPlaneError as refused:
                return answers, str(refused)
        return answers, None

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
