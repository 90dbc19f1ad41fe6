"""Lives drawn from the lifecycle's table, several at once, over each order store: it does what a simpler model says."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from google.cloud.firestore import Client
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from functions.adapters.firestore import FirestoreOrderStore
from functions.adapters.memory import MemoryOrderStore
from functions.domain.events import AnyEvent, Cancel, Claim, EventKind, Lapse, Note, Renew, Return
from functions.domain.order import HELD, LAPSE_MARGIN, REMEMBERED_REQUESTS, Order
from functions.domain.refusals import Gone, LeaseLost, NotFound, WrongState
from functions.domain.rules import RULES
from functions.domain.timing import MIN_BOOT_WITHOUT_HEARTBEATS, due_event
from functions.ports import IdempotencyKey, OrderStore, Snapshot
from shared.domain.order import FINAL, State
from shared.domain.spec import AnySpec, OrderKind
from tests.factories import CAPACITY, NOW, SESSION, TASK, a_key, an_order
from tests.lives import FENCED, LIMITS, LIVES, MAKE, a_life

K, S = EventKind, State
Row = tuple[State, EventKind]

LAUNCHERS: Final = ("rack/alpha", "rack/beta", "attic/alpha")
SPECS: Final[tuple[AnySpec, ...]] = (TASK, CAPACITY, SESSION)
LANES: Final = ("any/task", "any/session", "local:dev/capacity/tiny")
ONLY_CAPACITY: Final = frozenset({K.TTL_PASSED, K.RELEASE, K.REGISTER})
UNWATCHFUL: Final = LAUNCHERS[-1]
"""One of the launchers sends no heartbeats once its orders run."""
ONLY_IF_CANCELLED: Final = frozenset({K.STOP, K.RELEASE})
"""What happens only if the client has cancelled the order."""
NAMED: Final = [kind for kind in FENCED if hasattr(MAKE[kind]("x", an_order(), NOW), "launcher")]
TIMED: Final = (K.CLAIM, K.EXPIRE, K.LAPSE, K.BOOT_TIMEOUT, K.RUN_TIMEOUT, K.TTL_PASSED, K.DISCARD)
"""What happens only from a certain time on."""
MOMENT: Final = timedelta(microseconds=1)
ATTEMPTS: Final = 3
GROUPS: Final = 8
"""Into how many the table's rows are dealt: each group's orders live at once."""
WAITING: Final = frozenset({S.QUEUED})
ALL: Final = 1000


@dataclass
class Life:
    """What an order must have come to, told again and simply. Of the answers it believes only the order's waits."""

    answered: Order
    now: datetime
    """Each order has a clock of its own, so that one's long wait does not end the others."""
    to_come: list[EventKind]
    state: State = S.QUEUED
    epoch: int = 0
    burned: int = 0
    holder: str | None = None
    attended: bool = True
    cancelled: bool = False
    discarded: bool = False
    lease_until: datetime = NOW
    entered: dict[State, datetime] = field(default_factory=dict)
    requests: list[AnyEvent] = field(default_factory=list)
    """Those that the order must remember."""

    @property
    def capacity(self) -> bool:
        return self.answered.kind is OrderKind.CAPACITY

    def possible(self, kind: EventKind) -> bool:
        """Return whether the event can happen to it in its state, now or later."""
        match kind:
            case K.RUN_TIMEOUT:
                allowed = not self.capacity
            case K.TTL_PASSED | K.REGISTER:
                allowed = self.capacity
            case K.LAPSE:
                allowed = self.attended or self.state is not S.RUNNING
            case K.STOP:
                allowed = self.cancelled
            case K.RELEASE:
                allowed = self.cancelled and self.capacity
            case K.DISCARD:
                allowed = self.epoch > 0 and not self.capacity and not self.discarded
            case _:
                allowed = True
        return allowed and (self.state, kind) in RULES

    def earliest(self, kind: EventKind) -> datetime:
        """Return from when on an event that is possible happens."""
        match kind:
            case K.CLAIM:
                return self.answered.available_at
            case K.EXPIRE:
                return self.answered.expires_at
            case K.LAPSE:
                return self.lease_until + LAPSE_MARGIN
            case K.BOOT_TIMEOUT:
                return self.entered[S.CLAIMED] + (LIMITS.boot if self.attended else MIN_BOOT_WITHOUT_HEARTBEATS)
            case K.RUN_TIMEOUT | K.TTL_PASSED:
                return self.entered[S.RUNNING] + timedelta(seconds=LIMITS.run_seconds or 0)
            case K.DISCARD:
                return self.entered[self.state] + LIMITS.keep
            case _:
                return NOW

    def happens(self, kind: EventKind, now: datetime) -> bool:
        too_late = kind is K.CLAIM and now >= self.answered.expires_at
        return self.possible(kind) and self.earliest(kind) <= now and not too_late

    def reachable(self, kind: EventKind) -> bool:
        return self.possible(kind) and self.happens(kind, max(self.now, self.earliest(kind)))

    def follow(self, event: AnyEvent, now: datetime) -> None:
        """Do to the model what the event does to the order."""
        self.now = now
        before, self.state = self.state, RULES[self.state, event.kind]
        assert before not in FINAL or self.state is before, f"the table leads out of {before}"
        match event:
            case Claim():
                self.epoch, self.burned = self.epoch + 1, self.burned + 1
                self.holder, self.lease_until, self.attended = event.launcher, event.lease_until, event.attended
            case Renew():
                self.lease_until, self.attended = event.lease_until, event.attended
            case Note():
                self.lease_until = max(self.lease_until, event.lease_until)
            case Cancel() if before is S.RUNNING and not self.attended:
                self.state = S.SUCCEEDED if self.capacity else S.CANCELLED
            case Return():
                self.burned -= 1
            case Lapse() if before is S.CLAIMED and self.attended:
                self.burned -= 1
        self.cancelled |= event.kind is K.CANCEL
        self.discarded |= event.kind is K.DISCARD
        if before in HELD and self.state is S.QUEUED:
            self.state = self._after_an_attempt(before, event)
        if self.state is not before:
            self.entered[self.state] = now
        if self.state not in HELD:
            self.holder = None
        if event.kind not in (K.RING, K.RENEW) and not (event.kind is K.EXIT and before in FINAL):
            self.requests = [*self.requests, event][-REMEMBERED_REQUESTS:]

    def _after_an_attempt(self, before: State, event: AnyEvent) -> State:
        if self.cancelled:
            return S.SUCCEEDED if before is S.RUNNING and self.capacity else S.CANCELLED
        spent = self.burned >= ATTEMPTS and event.kind is not K.RETURN
        return S.FAILED if spent else S.QUEUED


class Lives(RuleBasedStateMachine):
    """Each step is some legal rows of an order, or a repeat, an intruder, a removal, a sweep, a new order."""

    def __init__(self, store: OrderStore, rows: Sequence[Row], fired: Counter[Row]) -> None:
        super().__init__()
        self.store, self.rows, self.fired = store, rows, fired
        self.now = NOW
        self.lives: dict[str, Life] = {}
        self.keys: dict[str, IdempotencyKey] = {}
        self.snapshots: dict[str, list[Snapshot]] = {}
        self.numbers = iter(range(1, 100_000))

    @initialize(other=LIVES)
    def begin(self, other: list[EventKind]) -> None:
        """An order for each of the rows, that is to come to it, and one of which anything may become."""
        for row in self.rows:
            spec = CAPACITY if row[1] in ONLY_CAPACITY else TASK
            self.place(spec, a_life([], row, row[1] in ONLY_IF_CANCELLED, []))
        self.place(SESSION, other)

    @rule(spec=st.sampled_from(SPECS), to_come=LIVES)
    def place(self, spec: AnySpec, to_come: list[EventKind]) -> None:
        order = replace(an_order(spec, now=self.now, limits=LIMITS), id=self._id("order"))
        key = a_key(order)
        assert self.store.create(order, key).order == order
        assert self.store.create(an_order(spec), key).order == order
        self.lives[order.id], self.keys[order.id] = Life(order, self.now, to_come), key
        self.snapshots[order.id] = []

    @rule(data=st.data(), events=st.integers(1, 4))
    def live(self, data: st.DataObject, events: int) -> None:
        """One order goes on with its life; what cannot happen to it, as its life went, it leaves out."""
        going_on = [life for life in self.lives.values() if life.to_come]
        if not going_on:
            return
        life = data.draw(st.sampled_from(going_on), label="order")
        for _ in range(min(events, len(life.to_come))):
            self._go_on(life, data.draw(st.sampled_from(LAUNCHERS), label="launcher"), self._seen(life, data))
            self.what_is_stored_is_what_the_model_says()

    @rule(data=st.data())
    def repeat_a_request(self, data: st.DataObject) -> None:
        repeats = [(life, event) for life in self.lives.values() for event in life.requests]
        if not repeats:
            return
        life, event = data.draw(st.sampled_from(repeats), label="repeat")
        seen = self._seen(life, data)
        if getattr(event, "epoch", life.epoch) == life.epoch:
            assert self.store.apply(life.answered.id, event, self.now, seen) == life.answered
            return
        with pytest.raises(LeaseLost):
            self.store.apply(life.answered.id, event, self.now, seen)

    @rule(data=st.data(), theirs=st.sampled_from(["epoch before", "epoch after", "launcher"]))
    def intrude(self, data: st.DataObject, theirs: str) -> None:
        """Send what its holder could send now, but as another."""
        held = [life for life in self.lives.values() if life.holder is not None]
        kinds = NAMED if theirs == "launcher" else FENCED
        able = [(life, kind) for life in held for kind in kinds if life.happens(kind, self.now)]
        if not able:
            return
        life, kind = data.draw(st.sampled_from(able), label="intruder")
        event = self._event(kind, life, "")
        match theirs:
            case "launcher":
                event = replace(event, launcher="rack/nobody")  # type: ignore[arg-type]
            case "epoch before":
                event = replace(event, epoch=life.epoch - 1)  # type: ignore[arg-type]
            case _:
                event = replace(event, epoch=life.epoch + 1)  # type: ignore[arg-type]
        with pytest.raises(LeaseLost):
            self.store.apply(life.answered.id, event, self.now, self._seen(life, data))

    @rule(data=st.data(), kind=st.sampled_from(list(K)))
    def ask_out_of_turn(self, data: st.DataObject, kind: EventKind) -> None:
        """Send what cannot happen to the order in its state, or not yet, or not without a cancellation."""
        deaf = [life for life in self.lives.values() if not life.happens(kind, self.now)]
        if not deaf:
            return
        life = data.draw(st.sampled_from(deaf), label="order")
        with pytest.raises((WrongState, LeaseLost)):
            self.store.apply(life.answered.id, self._event(kind, life, LAUNCHERS[0]), self.now, self._seen(life, data))

    @rule(data=st.data())
    def come_too_early(self, data: st.DataObject) -> None:
        """Send what is to happen to the order a moment later."""
        soon = [(life, kind) for life in self.lives.values() for kind in TIMED if life.possible(kind)]
        if not soon:
            return
        life, kind = data.draw(st.sampled_from(soon), label="event")
        early = life.earliest(kind) - MOMENT
        with pytest.raises(WrongState):
            self.store.apply(life.answered.id, self._event(kind, life, LAUNCHERS[0]), early, self._seen(life, data))

    @rule(limit=st.integers(1, 5))
    def sweep(self, limit: int) -> None:
        for states in (HELD, WAITING, FINAL):
            for snapshot in self.store.due(states, self.now, limit).orders:
                event = due_event(snapshot.order, self.now, self._id("sweep"))
                assert event is not None
                self._take(self.lives[snapshot.order.id], event, snapshot)

    @rule(seconds=st.sampled_from([1, 30, 70, 250]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if len(self.lives) == 1:
            return
        life = self._any(data)
        order_id = life.answered.id
        if life.state not in FINAL:
            with pytest.raises(WrongState):
                self.store.remove(order_id)
            return
        self.store.remove(order_id)
        del self.lives[order_id]
        with pytest.raises(NotFound):
            self.store.apply(order_id, self._event(K.CANCEL, life, ""), self.now, self._seen(life, data))
        with pytest.raises(Gone):
            self.store.create(an_order(), self.keys[order_id])

    @invariant()
    def what_is_stored_is_what_the_model_says(self) -> None:
        found = self.store.get_many(self.lives.keys())
        stored = {id_: seen for id_, seen in found.items() if isinstance(seen, Snapshot)}
        assert {id_: snapshot.order for id_, snapshot in stored.items()} == {
            id_: life.answered for id_, life in self.lives.items()
        }
        for life in self.lives.values():
            order = life.answered
            assert (order.state, order.epoch, order.attempt) == (life.state, life.epoch, life.burned)
            assert (order.lease and order.lease.launcher) == life.holder
            assert (order.lease is not None) == (life.state in HELD)
            assert order.lease is None or order.lease.until == life.lease_until
        for id_, snapshot in stored.items():
            if snapshot not in self.snapshots[id_]:
                self.snapshots[id_].append(snapshot)

    @invariant()
    def what_is_found_is_what_the_model_says(self) -> None:
        orders = [life.answered for life in self.lives.values()]
        for states in (HELD, WAITING, FINAL):
            due = [order for order in orders if order.state in states and order.due_at and order.due_at <= self.now]
            found = [snapshot.order for snapshot in self.store.due(states, self.now, ALL).orders]
            _same(found, due, lambda order: order.due_at)
        waiting = [order for order in orders if order.state is S.QUEUED and order.available_at <= self.now]
        for lanes in (LANES[:1], LANES):
            found = [snapshot.order for snapshot in self.store.claimable(lanes, self.now, ALL)]
            _same(found, [order for order in waiting if order.lane in lanes], lambda order: order.available_at)
        for launcher in LAUNCHERS:
            held = {id_ for id_, life in self.lives.items() if life.holder == launcher}
            assert {order.id for order in self.store.held_by(launcher)} == held

    def teardown(self) -> None:
        """Whatever came in between, every life is lived to its end."""
        for life in self.lives.values():
            while life.to_come:
                self._go_on(life, LAUNCHERS[0])
        self.what_is_stored_is_what_the_model_says()

    def _go_on(self, life: Life, claimer: str, seen: Snapshot | None = None) -> None:
        kind = life.to_come.pop(0)
        if life.reachable(kind):
            self.now = max(life.now, life.earliest(kind))
            self._take(life, self._event(kind, life, claimer), seen)

    def _any(self, data: st.DataObject) -> Life:
        return data.draw(st.sampled_from(list(self.lives.values())), label="order")

    def _event(self, kind: EventKind, life: Life, claimer: str) -> AnyEvent:
        event = MAKE[kind](self._id("request"), life.answered, self.now)
        if not hasattr(event, "launcher"):
            return event
        sent = replace(event, launcher=claimer if kind is K.CLAIM else life.holder or claimer)  # type: ignore[arg-type]
        return replace(sent, attended=sent.launcher != UNWATCHFUL) if isinstance(sent, Claim | Renew) else sent

    def _seen(self, life: Life, data: st.DataObject) -> Snapshot | None:
        """Return some version of the order that was read at some time, or none."""
        return data.draw(st.sampled_from([None, *self.snapshots[life.answered.id][-8:]]), label="seen")

    def _take(self, life: Life, event: AnyEvent, seen: Snapshot | None) -> None:
        self.fired[life.state, event.kind] += 1
        assert life.happens(event.kind, self.now)
        life.answered = self.store.apply(life.answered.id, event, self.now, seen)
        life.follow(event, self.now)

    def _id(self, what: str) -> str:
        return f"{what}-{next(self.numbers)}"


def _same(found: list[Order], expected: list[Order], by: Callable[[Order], Any]) -> None:
    """What is equally late may come in any order."""
    assert sorted(found, key=lambda order: order.id) == sorted(expected, key=lambda order: order.id)
    assert [by(order) for order in found] == sorted(by(order) for order in found)


def live(make_store: Callable[[], OrderStore], examples: int, steps: int) -> Counter[Row]:
    """For some rows of the table after the other, live so many times over a new store; return how often each fired."""
    fired: Counter[Row] = Counter()
    bounded = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[
            Phase.generate
        ],  # a failure is shown as it was found: to make it smaller over an emulator takes minutes
        suppress_health_check=list(HealthCheck),
    )
    for first in range(GROUPS):
        rows = list(RULES)[first::GROUPS]
        run_state_machine_as_test(partial(_lives, make_store, rows, fired), settings=bounded)  # type: ignore[arg-type]
    return fired


def _lives(make_store: Callable[[], OrderStore], rows: Sequence[Row], fired: Counter[Row]) -> Lives:
    return Lives(make_store(), rows, fired)


@pytest.fixture
def empty_firestore(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], OrderStore]]:
    """Makes a store over an empty project, each time it is called."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    with ExitStack() as clients:
        yield lambda: FirestoreOrderStore(clients.enter_context(closing(Client(project=f"test-{uuid4().hex[:20]}"))))


def test_lives_over_the_memory_store_are_as_the_model_says_and_use_every_row() -> None:
    assert set(live(MemoryOrderStore, examples=20, steps=30)) == set(RULES)


@pytest.mark.emulator
def test_lives_over_firestore_are_as_the_model_says_and_use_every_row(
    empty_firestore: Callable[[], OrderStore],
) -> None:
    assert set(live(empty_firestore, examples=2, steps=8)) == set(RULES)
