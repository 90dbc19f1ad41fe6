"""The contract of every OrderStore."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from functions.domain.events import AnyEvent, Cancel, Provision, Renew, Ring, Start, Succeed
from functions.domain.order import HELD, Order, Output
from functions.domain.refusals import Conflict, KeyReused, LeaseLost, NotFound, WrongState
from functions.domain.rules import advance
from functions.ports.orders import OrderStore
from shared.domain.order import FINAL, LEASE, State
from shared.domain.spec import SessionSpec
from tests.contract.conftest import stored
from tests.factories import EXPORT, LAUNCHER, NOW, a_claim, a_claimed_order, a_key, an_order
from tests.threads import at_once

SOON = timedelta(seconds=1)
OTHER_LAUNCHER = "rack/beta"
UNKNOWN_IDS = [str(uuid4()), "__reserved__", "", ".", "..", "a/b", "a/b/c", "x" * 2000]


def test_a_created_order_is_read_as_it_was_created(orders: OrderStore) -> None:
    session = SessionSpec(session_name="night-shift", prompt="Prüfe alles. " * 5_000)
    order = an_order(session, now=NOW + timedelta(microseconds=1), metrics={"cpu.s": 1.5, "pages": 3, "ratio": 1.0})

    assert stored(orders, order) == order
    assert orders.get(order.id) == order


@pytest.mark.parametrize("order_id", UNKNOWN_IDS)
def test_an_unknown_order_is_not_found(orders: OrderStore, order_id: str) -> None:
    with pytest.raises(NotFound):
        orders.get(order_id)
    with pytest.raises(NotFound):
        orders.apply(order_id, a_claim(), NOW)
    assert orders.get_many([order_id]) == {}


def test_the_same_key_gives_the_order_of_the_first_create_as_it_now_stands(orders: OrderStore) -> None:
    first, again = an_order(), an_order()
    orders.create(first, a_key(first, "key"))
    claimed = orders.apply(first.id, a_claim(), NOW)

    assert orders.create(again, a_key(again, "key")).order == claimed
    with pytest.raises(NotFound):
        orders.get(again.id)


def test_a_key_used_for_another_body_is_refused_and_stores_nothing(orders: OrderStore) -> None:
    first, other = an_order(), an_order()
    orders.create(first, a_key(first, "key"))

    with pytest.raises(KeyReused):
        orders.create(other, a_key(other, "key", fingerprint="1" * 64))
    with pytest.raises(NotFound):
        orders.get(other.id)


def test_the_same_key_of_another_account_is_another_key(orders: OrderStore) -> None:
    ours, theirs = an_order(), an_order(account="umbrella")
    orders.create(ours, a_key(ours, "key"))

    assert orders.create(theirs, a_key(theirs, "key")).order == theirs


@pytest.mark.parametrize("value", ["a/b", "__x__", ".", "ключ " * 300])
def test_a_key_may_be_any_text(orders: OrderStore, value: str) -> None:
    first, again = an_order(), an_order()
    orders.create(first, a_key(first, value))

    assert orders.create(again, a_key(again, value)).order == first


def test_an_id_that_is_taken_is_refused_and_its_key_stays_free(orders: OrderStore) -> None:
    taken, other = stored(orders), an_order()

    with pytest.raises(Conflict):
        orders.create(replace(an_order(), id=taken.id), a_key(taken, "other key"))
    assert orders.get(taken.id) == taken
    assert orders.create(other, a_key(other, "other key")).order == other


def test_creates_that_race_with_one_key_are_one_order(orders: OrderStore) -> None:
    rivals = [an_order() for _ in range(8)]

    answers = at_once(partial(orders.create, order, a_key(order, "key")) for order in rivals)

    assert answers == [answers[0]] * len(rivals)
    assert len(orders.get_many([order.id for order in rivals])) == 1


def test_an_event_changes_the_stored_order_as_the_lifecycle_says(orders: OrderStore) -> None:
    order, claim = stored(orders), a_claim()

    changed = orders.apply(order.id, claim, NOW)

    assert changed == advance(order, claim, NOW) == orders.get(order.id)


def test_a_whole_life_is_stored_with_nothing_lost(orders: OrderStore) -> None:
    order = stored(orders)
    output = Output("outputs/a/1/a.xml", "a.xml", "application/xml", 5, "0" * 64)
    succeed = Succeed(str(uuid4()), 1, output, {"bytes.out": 5, "seconds": 0.25})
    provision, start = Provision(str(uuid4()), 1, LAUNCHER, "vm-1"), Start(str(uuid4()), 1)
    life: list[AnyEvent] = [a_claim(), provision, start, succeed]
    for event in life:
        order = advance(order, event, NOW)
        assert orders.apply(order.id, event, NOW) == order

    assert orders.get(order.id) == order
    assert order.state is State.SUCCEEDED


def test_a_stale_epoch_changes_nothing(orders: OrderStore) -> None:
    claimed = orders.apply(stored(orders).id, a_claim(), NOW)

    with pytest.raises(LeaseLost):
        orders.apply(claimed.id, Start(str(uuid4()), claimed.epoch + 1), NOW)
    with pytest.raises(LeaseLost):
        orders.apply(claimed.id, Provision(str(uuid4()), claimed.epoch, OTHER_LAUNCHER, "vm-2"), NOW)
    assert orders.get(claimed.id) == claimed


def test_a_request_that_comes_twice_changes_the_order_once(orders: OrderStore) -> None:
    order, claim = stored(orders), a_claim()
    first = orders.apply(order.id, claim, NOW)

    assert orders.apply(order.id, claim, NOW + SOON) == first
    assert orders.get(order.id) == first


def test_a_request_that_races_itself_changes_the_order_once(orders: OrderStore) -> None:
    order, claim = stored(orders), a_claim()

    answers = at_once([partial(orders.apply, order.id, claim, NOW)] * 8)

    assert answers == [orders.get(order.id)] * 8
    assert orders.get(order.id).epoch == 1


def test_events_that_race_and_do_not_exclude_each_other_all_happen(orders: OrderStore) -> None:
    claimed = orders.apply(stored(orders).id, a_claim(), NOW)
    until = NOW + 2 * LEASE
    events: list[AnyEvent] = [
        Provision(str(uuid4()), 1, LAUNCHER, "vm-1"),
        Renew(str(uuid4()), 1, LAUNCHER, until),
        Cancel(str(uuid4())),
    ]

    answers = at_once(partial(orders.apply, claimed.id, event, NOW + SOON) for event in events)

    assert all(isinstance(answer, Order) for answer in answers)
    order = orders.get(claimed.id)
    assert order.lease is not None
    assert (order.vm, order.lease.until, order.cancel_requested_at) == ("vm-1", until, NOW + SOON)


def test_an_event_that_changes_nothing_is_accepted(orders: OrderStore) -> None:
    order = stored(orders)
    rung = orders.apply(order.id, Ring(str(uuid4())), NOW)

    assert orders.apply(order.id, Ring(str(uuid4())), NOW) == rung


def test_a_snapshot_skips_no_check(orders: OrderStore) -> None:
    order = stored(orders)
    stale = orders.read(order.id)
    claimed = orders.apply(order.id, a_claim(), NOW)

    with pytest.raises(WrongState) as refused:
        orders.apply(order.id, a_claim(OTHER_LAUNCHER), NOW, seen=stale)
    assert refused.value.state is State.CLAIMED
    assert orders.get(order.id) == claimed


def test_a_stale_snapshot_is_no_reason_to_refuse(orders: OrderStore) -> None:
    order = stored(orders)
    stale = orders.read(order.id)
    orders.apply(order.id, a_claim(), NOW)

    assert orders.apply(order.id, Start(str(uuid4()), 1), NOW, seen=stale).state is State.RUNNING


def test_a_repeat_is_answered_with_the_current_order_and_not_the_snapshot(orders: OrderStore) -> None:
    order, claim = stored(orders), a_claim()
    orders.apply(order.id, claim, NOW)
    stale = orders.read(order.id)
    started = orders.apply(order.id, Start(str(uuid4()), 1), NOW)

    assert orders.apply(order.id, claim, NOW, seen=stale) == started


def test_an_order_that_matches_its_snapshot_is_changed(orders: OrderStore) -> None:
    order = stored(orders)
    seen = orders.read(order.id)

    assert orders.apply(order.id, a_claim(), NOW, seen=seen) == orders.get(order.id)
    assert orders.get(order.id).state is State.CLAIMED


def test_many_are_read_at_once_and_missing_ones_left_out(orders: OrderStore) -> None:
    two = [stored(orders), stored(orders)]

    found = orders.get_many([two[0].id, two[1].id, two[0].id, *UNKNOWN_IDS])

    assert found == {order.id: orders.read(order.id) for order in two}
    assert [orders.read(order.id).order for order in two] == two
    assert orders.get_many([]) == {}


def test_the_orders_that_a_request_changed_are_found_by_it(orders: OrderStore) -> None:
    claim = a_claim()
    claimed = orders.apply(stored(orders).id, claim, NOW)
    orders.apply(stored(orders).id, a_claim(), NOW)

    assert orders.remembering(claim.request_id) == [claimed]
    assert orders.remembering(str(uuid4())) == []


def test_due_orders_are_returned_with_the_longest_due_first(orders: OrderStore) -> None:
    late = stored(orders, an_order(due_at=NOW))
    early = stored(orders, an_order(due_at=NOW - SOON))
    stored(orders, an_order(due_at=NOW + SOON))
    stored(orders, an_order(state=State.SUCCEEDED, due_at=None))

    assert [snapshot.order for snapshot in orders.due({State.QUEUED}, NOW, limit=10).orders] == [early, late]
    assert [snapshot.order for snapshot in orders.due({State.QUEUED}, NOW, limit=1).orders] == [early]


def test_due_are_those_of_the_states_asked_for(orders: OrderStore) -> None:
    waiting = stored(orders, an_order(due_at=NOW))
    held = stored(orders, replace(a_claimed_order(), due_at=NOW))

    assert [snapshot.order for snapshot in orders.due({State.QUEUED}, NOW, limit=10).orders] == [waiting]
    assert [snapshot.order for snapshot in orders.due(HELD, NOW, limit=10).orders] == [held]


def test_ended_orders_are_due_when_their_retention_has_passed(orders: OrderStore) -> None:
    succeeded = stored(orders, an_order(EXPORT, state=State.SUCCEEDED, due_at=NOW - SOON))
    failed = stored(orders, an_order(state=State.FAILED, due_at=NOW))
    stored(orders, an_order(state=State.SUCCEEDED, due_at=NOW + SOON))
    stored(orders, an_order(state=State.CANCELLED, due_at=None))
    stored(orders, an_order(due_at=NOW))

    assert [snapshot.order for snapshot in orders.due(FINAL, NOW, limit=10).orders] == [succeeded, failed]


def test_the_longest_waiting_order_is_the_one_that_could_be_claimed_first(orders: OrderStore) -> None:
    assert orders.waiting_since(NOW) is None

    stored(orders, an_order(now=NOW - 2 * SOON))
    first = stored(orders, an_order(now=NOW - SOON, available_at=NOW - 3 * SOON))
    stored(orders, an_order(now=NOW - 4 * SOON, available_at=NOW + SOON))
    assert orders.waiting_since(NOW) == NOW - 3 * SOON

    orders.apply(first.id, a_claim(), NOW)
    assert orders.waiting_since(NOW) == NOW - 2 * SOON
