"""A record names its orders: missing ones are created, and released ones are cancelled, for any kind of record."""

from dataclasses import dataclass, field, replace
from typing import Final

from functions.adapters.memory import MemoryOrderStore
from functions.domain.order import Order
from functions.domain.refusals import Unavailable
from functions.engine.order_sets import NamedOrder, OrderSet, OrderSets
from functions.ports.orders import IdempotencyKey
from shared.domain.order import State
from tests.factories import NOW, TASK, an_order
from tests.meanwhile import Failing

NAMES: Final = ("batch-1", "batch-2", "batch-3")


@dataclass
class Batch:
    """A record of tasks' orders."""

    store: MemoryOrderStore = field(default_factory=MemoryOrderStore)
    rung: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    released: tuple[str, ...] = ()

    @property
    def sets(self) -> OrderSets:
        return OrderSets(self.store, lambda seen: self.rung.append(seen.order.id), lambda: NOW)

    def fill(self) -> OrderSet:
        seen = self.sets.read(NAMES)
        return self.sets.create(seen, seen.missing(NAMES), self.named, self.removed.append)

    def named(self, order_id: str) -> NamedOrder:
        order: Order = replace(an_order(TASK), id=order_id)
        key = IdempotencyKey(order.account, f"batch\n{order_id}", order_id)
        return NamedOrder(order, key, claimable=order_id not in self.released)


def test_missing_orders_are_created_once_and_rung_for() -> None:
    batch = Batch()

    first, second = batch.fill(), batch.fill()

    assert (first.created, second.created) == (3, 0)
    assert set(first.orders) == set(second.orders) == set(NAMES)
    assert sorted(batch.rung) == list(NAMES)


def test_an_order_that_cannot_be_created_does_not_stop_others_from_being_created(failing: Failing) -> None:
    batch = Batch()
    failing(batch.store, "create", Unavailable("The store does not answer."), only=batch.named("batch-2").key)

    assert sorted(batch.fill().orders) == ["batch-1", "batch-3"]


def test_an_order_of_another_version_is_not_missing_and_is_left_alone() -> None:
    batch = Batch()
    batch.fill()
    batch.store.unreadable.add("batch-1")

    seen = batch.fill()

    assert seen.missing(NAMES) == []
    assert (seen.unreadable, seen.created) == (frozenset({"batch-1"}), 0)
    assert batch.sets.release(seen, NAMES, "cancel@batch").released == 2


def test_an_order_that_was_removed_is_not_created_again_and_its_record_is_told() -> None:
    batch = Batch()
    seen = batch.sets.release(batch.fill(), ["batch-1"], "cancel@batch")
    assert seen.orders["batch-1"].state is State.CANCELLED
    batch.store.remove("batch-1")

    assert sorted(batch.fill().orders) == ["batch-2", "batch-3"]
    assert batch.removed == ["batch-1"]


def test_orders_are_released_once() -> None:
    batch = Batch()
    seen = batch.fill()

    done = batch.sets.release(seen, ["batch-1", "unknown"], "cancel@batch")

    assert done.released == 1
    assert batch.sets.release(done, ["batch-1"], "cancel@batch").released == 1


def test_an_order_that_is_released_before_it_was_created_is_created_and_not_offered() -> None:
    """Another run may be about to create it: then it finds the order, cancelled."""
    batch = Batch(released=("batch-1",))

    seen = batch.fill()
    done = batch.sets.release(seen, batch.released, "cancel@batch")

    assert "batch-1" not in batch.rung
    assert done.orders["batch-1"].state is State.CANCELLED
