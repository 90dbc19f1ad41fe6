"""A document that only another version can read hides nothing, blocks nothing, and is not taken for a missing one."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from google.cloud.firestore import Client
from pydantic import TypeAdapter, ValidationError

from functions.adapters import reading
from functions.adapters.firestore import IDEMPOTENCY_KEYS, FirestoreOrderStore
from functions.adapters.firestore_keys import FirestoreKeyStore
from functions.adapters.memory_keys import MemoryKeyStore
from functions.adapters.memory_records import MemoryRecords
from functions.adapters.records import FirestoreRecords
from functions.domain.access import ApiKey, Role
from functions.domain.events import Cancel
from functions.domain.order import HELD, Order
from functions.domain.refusals import OtherVersion
from functions.ports.keys import KeyStore
from functions.ports.orders import OrderQuery, OrderStore, UnreadableOrder
from functions.ports.records import Records
from shared.domain.order import State
from tests.contract.conftest import MEMORY_AND_FIRESTORE
from tests.factories import LAUNCHER, NOW, Challenge, a_claim, a_key, an_order
from tests.later_version import InFirestore, InMemory, LaterVersion
from tests.threads import at_once

SOON: Final = timedelta(minutes=5)
AT_ONCE: Final = 10
MANY: Final = 4 * AT_ONCE


def plant(orders: OrderStore, later: LaterVersion, made: list[Order]) -> list[Order]:
    """Store these orders in the form of a later version."""

    def one(order: Order) -> Order:
        orders.create(order, a_key(order))
        later.order(orders, order.id)
        return order

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, made))


def kept(orders: OrderStore, order: Order) -> Order:
    return orders.create(order, a_key(order)).order


BY_ID: list[Callable[[OrderStore, Order], Any]] = [
    lambda orders, order: orders.get(order.id),
    lambda orders, order: orders.read(order.id),
    lambda orders, order: orders.apply(order.id, Cancel(str(uuid4())), NOW),
    lambda orders, order: orders.remove(order.id),
    lambda orders, order: orders.create(an_order(), a_key(order)),
]


@pytest.mark.parametrize("ask", BY_ID)
def test_a_request_for_it_by_id_or_key_is_to_be_repeated(
    orders: OrderStore, later: LaterVersion, ask: Callable[[OrderStore, Order], Any]
) -> None:
    (order,) = plant(orders, later, [an_order()])

    with pytest.raises(OtherVersion):
        ask(orders, order)
    assert orders.get_many([order.id, "another"]) == {order.id: UnreadableOrder(order.id)}
    assert orders.count(OrderQuery()) == 1


def test_pages_continue_behind_it_and_end_with_the_orders(orders: OrderStore, later: LaterVersion) -> None:
    readable = [kept(orders, an_order(now=NOW + timedelta(seconds=nth))) for nth in range(0, 20, 2)]
    plant(orders, later, [an_order(now=NOW + timedelta(seconds=nth)) for nth in range(1, 15, 2)])

    for oldest_first in (True, False):
        found, after = list[Order](), None
        while True:
            page = orders.page(OrderQuery(limit=3, after=after, oldest_first=oldest_first))
            found += page.orders
            after = page.next
            if after is None:
                break
            assert len(page.orders) == 3
        assert found == (readable if oldest_first else readable[::-1])


def test_an_order_behind_many_is_claimable_due_held_and_remembered(orders: OrderStore, later: LaterVersion) -> None:
    plant(orders, later, [an_order(now=NOW - SOON, due_at=NOW - SOON) for _ in range(MANY)])
    waiting = kept(orders, an_order(due_at=NOW))

    assert [one.order for one in orders.claimable([waiting.lane], NOW, AT_ONCE)] == [waiting]
    due = orders.due({State.QUEUED}, NOW, AT_ONCE)
    assert ([one.order for one in due.orders], due.more) == ([waiting], False)
    assert orders.due({State.QUEUED}, NOW, 1).more


def test_it_counts_among_the_orders_that_wait(orders: OrderStore, later: LaterVersion) -> None:
    plant(orders, later, [an_order(now=NOW - SOON)])
    kept(orders, an_order())

    assert orders.waiting_since(NOW) == NOW - SOON


def test_held_orders_and_orders_of_a_request_are_found_beside_it(orders: OrderStore, later: LaterVersion) -> None:
    claim = a_claim()
    for order in (an_order(), an_order()):
        kept(orders, order)
        orders.apply(order.id, claim, NOW)
    later.order(orders, order.id)

    assert [one.id for one in orders.held_by(LAUNCHER)] == [one.id for one in orders.remembering(claim.request_id)]
    assert order.id not in {one.id for one in orders.held_by(LAUNCHER)}
    assert orders.due(HELD, NOW, 10).orders == []


def test_reads_past_unreadable_documents_have_a_limit_that_is_logged(
    orders: OrderStore, later: LaterVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(orders, FirestoreOrderStore):
        return  # the memory store reads no documents
    monkeypatch.setattr(reading, "MAX_READ", 8)
    plant(orders, later, [an_order(now=NOW + timedelta(seconds=nth), due_at=NOW) for nth in range(12)])
    last = kept(orders, an_order(now=NOW + SOON, due_at=NOW + timedelta(seconds=1)))

    due = orders.due({State.QUEUED}, NOW + SOON, 2)
    assert (due.orders, due.more) == ([], True)
    first = orders.page(OrderQuery(limit=2, oldest_first=True))
    assert first.orders == []
    assert first.next is not None
    second = orders.page(OrderQuery(limit=2, oldest_first=True, after=first.next))
    assert (second.orders, second.next) == ([last], None)


def test_logging_many_at_once_harms_no_read() -> None:
    """The cache is so small, and its entries so short, that almost every thread evicts some, too."""
    unreadable = reading.UnreadableLog(20, 0.0001)
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("none")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def note(thread: int) -> None:
        for nth in range(300):
            unreadable.note({f"{thread}-{nth}-{one}": caught.value for one in range(5)})

    try:
        answers = at_once(partial(note, thread) for thread in range(8))
    finally:
        sys.setswitchinterval(interval)

    assert answers == [None] * 8


@pytest.fixture(params=MEMORY_AND_FIRESTORE)
def kind(request: pytest.FixtureRequest) -> tuple[Records[Challenge], KeyStore, LaterVersion]:
    if request.param == "memory":
        return MemoryRecords(), MemoryKeyStore(), InMemory()
    client = request.getfixturevalue("firestore_client")
    return FirestoreRecords(client, "challenges", Challenge), FirestoreKeyStore(client), InFirestore(client)


def test_records_by_id_are_asked_for_again_and_lists_of_them_go_on(
    kind: tuple[Records[Challenge], KeyStore, LaterVersion],
) -> None:
    records, _, later = kind
    for nth in range(12):
        records.add(f"{nth:02}", Challenge("vm", f"{nth:02}", NOW, NOW + timedelta(seconds=nth)))
    for nth in range(10):
        later.record(records, "challenges", f"{nth:02}", "nonce")
    asked: list[Callable[[], Any]] = [
        lambda: records.get("00"),
        lambda: records.change("00", lambda one: one),
        lambda: records.take("00"),
        lambda: records.add("00", Challenge("vm", "other", NOW, NOW)),
        lambda: records.find_every("vm_name", "vm", 100),
    ]

    for ask in asked:
        with pytest.raises(OtherVersion):
            ask()
    for found in (records.find("vm_name", "vm", 2), records.before("expires_at", NOW + SOON, 2), records.all(2)):
        assert sorted(one.nonce for one in found) == ["10", "11"]
    assert records.find_every("vm_name", "another", 1) == []


def test_a_key_of_a_later_version_is_asked_for_again(kind: tuple[Records[Challenge], KeyStore, LaterVersion]) -> None:
    _, keys, later = kind
    keys.add(ApiKey("d" * 64, Role.CLIENT, "acme"))
    later.key(keys, "d" * 64)

    with pytest.raises(OtherVersion):
        keys.find("d" * 64)


@pytest.mark.emulator
def test_an_idempotency_key_of_a_later_version_makes_no_second_order(firestore_client: Client) -> None:
    orders = FirestoreOrderStore(firestore_client)
    order = kept(orders, an_order())
    for document in firestore_client.collection(IDEMPOTENCY_KEYS).stream():
        document.reference.update({"fingerprint": {"sha256": "0"}})

    with pytest.raises(OtherVersion):
        orders.create(an_order(), a_key(order))
    assert orders.count(OrderQuery()) == 1
