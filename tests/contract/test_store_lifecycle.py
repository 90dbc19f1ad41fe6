"""Histories drawn from the lifecycle's table, several at once: each order store agrees with a simpler model."""

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
from functions.domain.events import AnyEvent, Claim, EventKind, Fail, Lapse, Note, Renew, Return
from functions.domain.order import HELD, LAPSE_MARGIN, REMEMBERED_REQUESTS, Order
from functions.domain.refusals import Gone, LeaseLost, NotFound, WrongState
from functions.domain.rules import RULES
from functions.domain.timing import MIN_BOOT_WITHOUT_HEARTBEATS, due_event
from functions.ports.orders import IdempotencyKey, OrderStore, Snapshot
from shared.domain.order import FINAL, State
from shared.domain.spec import AnySpec, OrderKind
from tests.factories import CAPACITY, NOW, SESSION, TASK, a_key, an_order
from tests.histories import FENCED, HISTORIES, LIMITS, MAKE, a_history

K, S = EventKind, State
Row = tuple[State, EventKind]

LAUNCHERS: Final = ("rack/alpha", "rack/beta", "attic/alpha")
SPECS: Final[tuple[AnySpec, ...]] = (TASK, CAPACITY, SESSION)
LANES: Final = ("any/task", "any/session", "local:dev/capacity/tiny")
ONLY_CAPACITY: Final = frozenset({K.TTL_PASSED, K.RELEASE, K.REGISTER})
WITHOUT_HEARTBEATS: Final = LAUNCHERS[-1]
"""One of the launchers sends no heartbeats once its orders run."""
NEWCOMER: Final = "cellar/alpha"
"""A launcher that has held no order: one that has may claim that order again before its time."""
AFTER_CANCEL: Final = frozenset({K.STOP, K.RELEASE})
"""Events that happen only if the client requested the cancellation."""
NAMED: Final = [kind for kind in FENCED if hasattr(MAKE[kind]("x", an_order(), NOW), "launcher")]
TIMED: Final = (K.CLAIM, K.EXPIRE, K.LAPSE, K.BOOT_TIMEOUT, K.RUN_TIMEOUT, K.TTL_PASSED, K.DISCARD)
"""Events that happen only from a certain time on."""
MOMENT: Final = timedelta(microseconds=1)
ATTEMPTS: Final = 3
GROUPS: Final = 8
"""The table's rows are divided into so many groups; the orders of one group exist at the same time."""
WAITING: Final = frozenset({S.QUEUED})
ALL: Final = 1000


@dataclass
class Model:
    """A simple model of one order. Of the store's answers it uses only the times that the order waits until."""

    answered: Order
    now: datetime
    """Each order has a clock of its own: the long wait of one does not end the others."""
    to_come: list[EventKind]
    state: State = S.QUEUED
    epoch: int = 0
    used: int = 0
    holder: str | None = None
    last_holder: str | None = None
    """Who holds it, or held it when it ended."""
    attended: bool = True
    cancel_requested: bool = False
    discarded: bool = False
    lease_until: datetime = NOW
    entered: dict[State, datetime] = field(default_factory=dict)
    requests: list[AnyEvent] = field(default_factory=list)
    """The requests that the order must remember."""

    @property
    def capacity(self) -> bool:
        return self.answered.kind is OrderKind.CAPACITY

    @property
    def session(self) -> bool:
        return self.answered.kind is OrderKind.SESSION

    def possible(self, kind: EventKind) -> bool:
        """Return whether the event can happen to the order in its state, now or later."""
        match kind:
            case K.RUN_TIMEOUT:
                allowed = not self.capacity
            case K.TTL_PASSED | K.REGISTER:
                allowed = self.capacity
            case K.LAPSE:
                allowed = self.attended or self.state is not S.RUNNING
            case K.STOP:
                allowed = self.cancel_requested
            case K.EXIT if self.state in FINAL:
                allowed = self.last_holder is not None
            case K.RELEASE:
                allowed = self.cancel_requested and self.capacity
            case K.DISCARD:
                allowed = self.epoch > 0 and not self.capacity and not self.discarded
            case _:
                allowed = True
        return allowed and (self.state, kind) in RULES

    def earliest(self, kind: EventKind) -> datetime:
        """Return the time from which a possible event happens."""
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
        """Change the model as the event changes the order."""
        self.now = now
        before, self.state = self.state, RULES[self.state, event.kind]
        assert before not in FINAL or self.state is before, f"the table leads out of {before}"
        match event:
            case Claim():
                self.epoch, self.used = self.epoch + 1, self.used + 1
                self.holder, self.lease_until, self.attended = event.launcher, event.lease_until, event.attended
            case Renew():
                self.lease_until, self.attended = event.lease_until, event.attended
            case Note():
                self.lease_until = max(self.lease_until, event.lease_until)
            case Return():
                self.used -= 1
            case Lapse() if before is S.CLAIMED and (self.attended or self.session):
                self.used -= 1
            case Fail() if self.session and self.cancel_requested:
                self.state = S.CANCELLED
        self.cancel_requested |= event.kind is K.CANCEL
        self.discarded |= event.kind is K.DISCARD
        can_be_stopped = self.attended or self.session
        if self.state is S.RUNNING and self.cancel_requested and not can_be_stopped:
            self.state = S.SUCCEEDED if self.capacity else S.CANCELLED
        if before in HELD and self.state is S.QUEUED:
            self.state = self._after_an_attempt(before, event)
        if self.state is not before:
            self.entered[self.state] = now
        self.last_holder = None if self.state is S.QUEUED else (self.holder or self.last_holder)
        if self.state not in HELD:
            self.holder = None
        if event.kind not in (K.RING, K.RENEW) and not (event.kind is K.EXIT and before in FINAL):
            self.requests = [*self.requests, event][-REMEMBERED_REQUESTS:]

    def _after_an_attempt(self, before: State, event: AnyEvent) -> State:
        if self.cancel_requested:
            return S.SUCCEEDED if before is S.RUNNING and self.capacity else S.CANCELLED
        if before is S.RUNNING and self.session:
            return S.FAILED
        spent = self.used >= ATTEMPTS and event.kind is not K.RETURN
        return S.FAILED if spent else S.QUEUED


class StoreMachine(RuleBasedStateMachine):
    """Each step is a few legal rows of an order, or a repeat, an intruder, a removal, a sweep, a new order."""

    def __init__(self, store: OrderStore, rows: Sequence[Row], fired: Counter[Row]) -> None:
        super().__init__()
        self.store, self.rows, self.fired = store, rows, fired
        self.now = NOW
        self.models: dict[str, Model] = {}
        self.keys: dict[str, IdempotencyKey] = {}
        self.snapshots: dict[str, list[Snapshot]] = {}
        self.numbers = iter(range(1, 100_000))

    @initialize(other=HISTORIES)
    def begin(self, other: list[EventKind]) -> None:
        """Place an order for each of the rows, with a history that leads to it, and one with a random history."""
        for row in self.rows:
            spec = CAPACITY if row[1] in ONLY_CAPACITY else TASK
            self.place(spec, a_history([], row, row[1] in AFTER_CANCEL, []))
        self.place(SESSION, other)

    @rule(spec=st.sampled_from(SPECS), to_come=HISTORIES)
    def place(self, spec: AnySpec, to_come: list[EventKind]) -> None:
        order = replace(an_order(spec, now=self.now, limits=LIMITS), id=self._id("order"))
        key = a_key(order)
        assert self.store.create(order, key).order == order
        assert self.store.create(an_order(spec), key).order == order
        self.models[order.id], self.keys[order.id] = Model(order, self.now, to_come), key
        self.snapshots[order.id] = []

    @rule(data=st.data(), events=st.integers(1, 4))
    def follow_a_history(self, data: st.DataObject, events: int) -> None:
        """Apply the next events of one order's history; leave out those that cannot happen to it any more."""
        unfinished = [model for model in self.models.values() if model.to_come]
        if not unfinished:
            return
        model = data.draw(st.sampled_from(unfinished), label="order")
        for _ in range(min(events, len(model.to_come))):
            self._go_on(model, data.draw(st.sampled_from(LAUNCHERS), label="launcher"), self._seen(model, data))
            self.the_store_holds_what_the_models_hold()

    @rule(data=st.data())
    def repeat_a_request(self, data: st.DataObject) -> None:
        repeats = [(model, event) for model in self.models.values() for event in model.requests]
        if not repeats:
            return
        model, event = data.draw(st.sampled_from(repeats), label="repeat")
        seen = self._seen(model, data)
        if getattr(event, "epoch", model.epoch) == model.epoch:
            assert self.store.apply(model.answered.id, event, self.now, seen) == model.answered
            return
        with pytest.raises(LeaseLost):
            self.store.apply(model.answered.id, event, self.now, seen)

    @rule(data=st.data(), theirs=st.sampled_from(["epoch before", "epoch after", "launcher"]))
    def intrude(self, data: st.DataObject, theirs: str) -> None:
        """Send an event that its holder could send now, but as another launcher or at another epoch."""
        held = [model for model in self.models.values() if model.last_holder is not None]
        kinds = NAMED if theirs == "launcher" else FENCED
        able = [(model, kind) for model in held for kind in kinds if model.happens(kind, self.now)]
        if not able:
            return
        model, kind = data.draw(st.sampled_from(able), label="intruder")
        event = self._event(kind, model, "")
        match theirs:
            case "launcher":
                event = replace(event, launcher="rack/nobody")  # type: ignore[arg-type]
            case "epoch before":
                event = replace(event, epoch=model.epoch - 1)  # type: ignore[arg-type]
            case _:
                event = replace(event, epoch=model.epoch + 1)  # type: ignore[arg-type]
        with pytest.raises(LeaseLost):
            self.store.apply(model.answered.id, event, self.now, self._seen(model, data))

    @rule(data=st.data(), kind=st.sampled_from(list(K)))
    def ask_out_of_turn(self, data: st.DataObject, kind: EventKind) -> None:
        """Send an event that cannot happen to the order: in its state, or yet, or without a cancellation."""
        unable = [model for model in self.models.values() if not model.happens(kind, self.now)]
        if not unable:
            return
        model = data.draw(st.sampled_from(unable), label="order")
        with pytest.raises((WrongState, LeaseLost)):
            self.store.apply(model.answered.id, self._event(kind, model, NEWCOMER), self.now, self._seen(model, data))

    @rule(data=st.data())
    def come_too_early(self, data: st.DataObject) -> None:
        """Send an event a moment before the time from which it happens."""
        soon = [(model, kind) for model in self.models.values() for kind in TIMED if model.possible(kind)]
        if not soon:
            return
        model, kind = data.draw(st.sampled_from(soon), label="event")
        early = model.earliest(kind) - MOMENT
        with pytest.raises(WrongState):
            self.store.apply(model.answered.id, self._event(kind, model, NEWCOMER), early, self._seen(model, data))

    @rule(limit=st.integers(1, 5))
    def sweep(self, limit: int) -> None:
        for states in (HELD, WAITING, FINAL):
            for snapshot in self.store.due(states, self.now, limit).orders:
                event = due_event(snapshot.order, self.now, self._id("sweep"))
                assert event is not None
                self._take(self.models[snapshot.order.id], event, snapshot)

    @rule(seconds=st.sampled_from([1, 30, 70, 250]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if len(self.models) == 1:
            return
        model = self._any(data)
        order_id = model.answered.id
        if model.state not in FINAL:
            with pytest.raises(WrongState):
                self.store.remove(order_id)
            return
        self.store.remove(order_id)
        del self.models[order_id]
        with pytest.raises(NotFound):
            self.store.apply(order_id, self._event(K.CANCEL, model, ""), self.now, self._seen(model, data))
        with pytest.raises(Gone):
            self.store.create(an_order(), self.keys[order_id])

    @invariant()
    def the_store_holds_what_the_models_hold(self) -> None:
        found = self.store.get_many(self.models.keys())
        stored = {id_: seen for id_, seen in found.items() if isinstance(seen, Snapshot)}
        assert {id_: snapshot.order for id_, snapshot in stored.items()} == {
            id_: model.answered for id_, model in self.models.items()
        }
        for model in self.models.values():
            order = model.answered
            assert (order.state, order.epoch, order.attempt) == (model.state, model.epoch, model.used)
            assert (order.lease and order.lease.launcher) == model.holder
            assert (order.lease is not None) == (model.state in HELD)
            assert order.lease is None or order.lease.until == model.lease_until
        for id_, snapshot in stored.items():
            if snapshot not in self.snapshots[id_]:
                self.snapshots[id_].append(snapshot)

    @invariant()
    def the_store_finds_what_the_models_hold(self) -> None:
        orders = [model.answered for model in self.models.values()]
        for states in (HELD, WAITING, FINAL):
            due = [order for order in orders if order.state in states and order.due_at and order.due_at <= self.now]
            found = [snapshot.order for snapshot in self.store.due(states, self.now, ALL).orders]
            _same(found, due, lambda order: order.due_at)
        waiting = [
            order for order in orders if order.state is S.QUEUED and order.available_at <= self.now < order.expires_at
        ]
        for lanes in (LANES[:1], LANES):
            found = [snapshot.order for snapshot in self.store.claimable(lanes, self.now, ALL)]
            _same(found, [order for order in waiting if order.lane in lanes], lambda order: order.available_at)
        for launcher in LAUNCHERS:
            held = {id_ for id_, model in self.models.items() if model.holder == launcher}
            assert {order.id for order in self.store.held_by(launcher)} == held

    def teardown(self) -> None:
        """Follow every history to its end."""
        for model in self.models.values():
            while model.to_come:
                self._go_on(model, LAUNCHERS[0])
        self.the_store_holds_what_the_models_hold()

    def _go_on(self, model: Model, claimer: str, seen: Snapshot | None = None) -> None:
        kind = model.to_come.pop(0)
        if model.reachable(kind):
            self.now = max(model.now, model.earliest(kind))
            self._take(model, self._event(kind, model, claimer), seen)

    def _any(self, data: st.DataObject) -> Model:
        return data.draw(st.sampled_from(list(self.models.values())), label="order")

    def _event(self, kind: EventKind, model: Model, claimer: str) -> AnyEvent:
        event = MAKE[kind](self._id("request"), model.answered, self.now)
        if not hasattr(event, "launcher"):
            return event
        sent = replace(event, launcher=claimer if kind is K.CLAIM else model.last_holder or claimer)  # type: ignore[arg-type]
        return replace(sent, attended=sent.launcher != WITHOUT_HEARTBEATS) if isinstance(sent, Claim | Renew) else sent

    def _seen(self, model: Model, data: st.DataObject) -> Snapshot | None:
        """Return a version of the order that was read before, or None."""
        return data.draw(st.sampled_from([None, *self.snapshots[model.answered.id][-8:]]), label="seen")

    def _take(self, model: Model, event: AnyEvent, seen: Snapshot | None) -> None:
        self.fired[model.state, event.kind] += 1
        assert model.happens(event.kind, self.now)
        model.answered = self.store.apply(model.answered.id, event, self.now, seen)
        model.follow(event, self.now)

    def _id(self, what: str) -> str:
        return f"{what}-{next(self.numbers)}"


def _same(found: list[Order], expected: list[Order], by: Callable[[Order], Any]) -> None:
    """Compare without regard to the order of those with the same time."""
    assert sorted(found, key=lambda order: order.id) == sorted(expected, key=lambda order: order.id)
    assert [by(order) for order in found] == sorted(by(order) for order in found)


def follow_histories(make_store: Callable[[], OrderStore], examples: int, steps: int) -> Counter[Row]:
    """Follow histories for each group of rows, each time over a new store; return how often each row fired."""
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
        run_state_machine_as_test(partial(_machine, make_store, rows, fired), settings=bounded)  # type: ignore[arg-type]
    return fired


def _machine(make_store: Callable[[], OrderStore], rows: Sequence[Row], fired: Counter[Row]) -> StoreMachine:
    return StoreMachine(make_store(), rows, fired)


@pytest.fixture
def empty_firestore(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], OrderStore]]:
    """Return a function that makes a store over an empty project."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    with ExitStack() as clients:
        yield lambda: FirestoreOrderStore(clients.enter_context(closing(Client(project=f"test-{uuid4().hex[:20]}"))))


def test_histories_over_the_memory_store_follow_the_model_and_use_every_row() -> None:
    assert set(follow_histories(MemoryOrderStore, examples=20, steps=30)) == set(RULES)


@pytest.mark.emulator
def test_histories_over_firestore_follow_the_model_and_use_every_row(
    empty_firestore: Callable[[], OrderStore],
) -> None:
    assert set(follow_histories(empty_firestore, examples=2, steps=8)) == set(RULES)
