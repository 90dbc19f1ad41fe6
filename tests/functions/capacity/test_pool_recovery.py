"""Pools after a crash or a removed order, and how many reads and writes they cost."""

from collections.abc import Callable, Collection, Mapping

import pytest

from functions.adapters.memory import MemoryOrderStore
from functions.adapters.memory_records import MemoryRecords
from functions.domain.order import Order
from functions.domain.pools import Pool
from functions.domain.refusals import Unavailable
from functions.ports.orders import IdempotencyKey, Snapshot, UnreadableOrder
from shared.domain.order import State
from tests.functions.capacity.accounts import reshape
from tests.functions.capacity.pools import (
    DATACENTER,
    ID,
    NO_DEMANDS,
    POOL,
    TARGETS,
    aim,
    alive,
    answer,
    listed,
    orders,
    reconcile,
    run,
    swept,
)
from tests.functions.world import ADMIN, World


class Faulty(MemoryOrderStore):
    """A store that fails to create while it is told to, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.asked: list[str] = []

    def create(self, order: Order, key: IdempotencyKey) -> Snapshot:
        self.asked.append("create")
        if self.failing:
            raise Unavailable("The store does not answer.")
        return super().create(order, key)

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Snapshot | UnreadableOrder]:
        self.asked.append("get_many")
        return super().get_many(order_ids)


class Counted(MemoryRecords[Pool]):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, id_: str) -> Pool | None:
        self.asked.append("get")
        return super().get(id_)

    def change(self, id_: str, change: Callable[[Pool], Pool]) -> Pool:
        self.asked.append("change")
        return super().change(id_, change)


@pytest.fixture
def store(world: World) -> Faulty:
    store = Faulty()
    reshape(world, store=store)
    return store


@pytest.fixture
def records(world: World) -> Counted:
    records = Counted()
    reshape(world, pools=records)
    return records


def test_orders_that_were_recorded_and_not_created_are_created_by_the_next(world: World, store: Faulty) -> None:
    aim(world, 3)
    store.failing = True
    assert swept(world)["created"] == 0
    assert listed(world)[0]["open_reservations"] == 3
    planned = world.ports.pools.get(ID)

    store.failing = False
    assert swept(world)["created"] == 3
    assert world.ports.pools.get(ID) == planned
    assert len(orders(world)) == 3


def test_a_released_order_that_was_never_created_is_never_offered(world: World, store: Faulty) -> None:
    aim(world, 1)
    store.failing = True
    swept(world)
    store.failing = False
    aim(world, 0)
    swept(world)
    assert [order.state for order in orders(world)] == [State.CANCELLED]
    assert world.bells.asked == []
    swept(world)
    pool = world.ports.pools.get(ID)
    assert pool is not None
    assert pool.members == ()


def test_a_slot_whose_order_was_removed_gets_another(world: World) -> None:
    aim(world, 1)
    swept(world)
    (order,) = orders(world)
    world.post(f"/v1/orders/{order.id}/cancel", key=ADMIN)
    world.ports.store.remove(order.id)
    swept(world)
    swept(world)
    (again,) = alive(world)
    assert again.id != order.id


def test_a_released_slot_whose_order_was_removed_gets_no_other(world: World) -> None:
    aim(world, 1)
    swept(world)
    (order,) = orders(world)
    answer(world.delete(f"{TARGETS}?datacenter={DATACENTER}&node_size=tiny", ADMIN))
    assert world.delete(f"/v1/orders/{order.id}", ADMIN).status_code == 204
    for _ in range(3):
        assert swept(world).get("created", 0) == 0
    assert orders(world) == []


def test_a_pool_at_rest_costs_two_reads_and_no_write(world: World, store: Faulty, records: Counted) -> None:
    aim(world, 2)
    swept(world)
    for order in orders(world):
        run(world, order)
    store.asked.clear()
    records.asked.clear()

    swept(world)  # the record came with the list of all
    assert (store.asked, records.asked) == (["get_many"], [])

    store.asked.clear()
    body = reconcile(world, targets=[{**POOL, "min_count": 2}], dispatch=True, **NO_DEMANDS)
    assert body["eligible"] is True
    assert (store.asked, records.asked) == (["get_many"], ["get"])
