"""What every OrderStore promises."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import uuid4

import pytest

from functions.domain.events import AnyEvent, Cancel, Provision, Renew, Return, Ring, Start, Succeed
from functions.domain.holder import holder_of
from functions.domain.order import HELD, Order, Output
from functions.domain.refusals import Conflict, Gone, Invalid, KeyReused, LeaseLost, NotFound, WrongState
from functions.domain.rules import advance
from functions.ports import OrderPage, OrderQuery, OrderStore
from shared.domain.order import FINAL, LEASE, Reason, State
from shared.domain.spec import OrderKind, SessionSpec
from tests.factories import CAPACITY, EXPORT, LAUNCHER, NOW, TASK, a_claim, a_claimed_order, a_key, an_order
from tests.threads import at_once

SOON = timedelta(seconds=1)
OTHER_LAUNCHER = "rack/beta"
UNKNOWN_IDS = [str(uuid4()), "__reserved__", "", ".", "..", "a/b", "a/b/c", "x" * 2000]


def stored(orders: OrderStore, order: Order | None = None) -> Order:
    order = order or an_order()
    return orders.create(order, a_key(order)).order


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


def test_of_two_claims_of_one_order_exactly_one_wins(orders: OrderStore) -> None:
    for _ in range(10):
        order = stored(orders)
        answers = at_once(partial(orders.apply, order.id, a_claim(who), NOW) for who in (LAUNCHER, OTHER_LAUNCHER))

        winners = [answer for answer in answers if isinstance(answer, Order)]
        losers = [answer for answer in answers if isinstance(answer, WrongState)]
        assert (len(winners), len(losers)) == (1, 1)
        assert orders.get(order.id) == winners[0]


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


def test_an_event_that_alters_nothing_is_no_error(orders: OrderStore) -> None:
    order = stored(orders)
    rung = orders.apply(order.id, Ring(str(uuid4())), NOW)

    assert orders.apply(order.id, Ring(str(uuid4())), NOW) == rung


def test_what_was_seen_spares_no_check(orders: OrderStore) -> None:
    order = stored(orders)
    stale = orders.look(order.id)
    claimed = orders.apply(order.id, a_claim(), NOW)

    with pytest.raises(WrongState) as refused:
        orders.apply(order.id, a_claim(OTHER_LAUNCHER), NOW, seen=stale)
    assert refused.value.state is State.CLAIMED
    assert orders.get(order.id) == claimed


def test_what_was_seen_is_no_reason_to_refuse(orders: OrderStore) -> None:
    order = stored(orders)
    stale = orders.look(order.id)
    orders.apply(order.id, a_claim(), NOW)

    assert orders.apply(order.id, Start(str(uuid4()), 1), NOW, seen=stale).state is State.RUNNING


def test_a_repeat_answers_what_stands_and_not_what_was_seen(orders: OrderStore) -> None:
    order, claim = stored(orders), a_claim()
    orders.apply(order.id, claim, NOW)
    stale = orders.look(order.id)
    started = orders.apply(order.id, Start(str(uuid4()), 1), NOW)

    assert orders.apply(order.id, claim, NOW, seen=stale) == started


def test_what_was_seen_and_still_stands_is_changed(orders: OrderStore) -> None:
    order = stored(orders)
    seen = orders.look(order.id)

    assert orders.apply(order.id, a_claim(), NOW, seen=seen) == orders.get(order.id)
    assert orders.get(order.id).state is State.CLAIMED


def test_many_are_read_at_once_and_missing_ones_left_out(orders: OrderStore) -> None:
    two = [stored(orders), stored(orders)]

    found = orders.get_many([two[0].id, two[1].id, two[0].id, *UNKNOWN_IDS])

    assert found == {order.id: orders.look(order.id) for order in two}
    assert [orders.look(order.id).order for order in two] == two
    assert orders.get_many([]) == {}


def test_claimable_are_the_queued_ones_of_these_lanes_from_the_longest_available(orders: OrderStore) -> None:
    late = stored(orders, an_order(now=NOW - SOON))
    early = stored(orders, an_order(CAPACITY, now=NOW - 2 * SOON))
    stored(orders, an_order(EXPORT, now=NOW - SOON))
    stored(orders, an_order(available_at=NOW + SOON))
    orders.apply(stored(orders, an_order(now=NOW - SOON)).id, a_claim(), NOW)

    found = orders.claimable([late.lane, early.lane], NOW, limit=10)

    assert [snapshot.order for snapshot in found] == [early, late]
    assert [snapshot.order for snapshot in orders.claimable([late.lane, early.lane], NOW, limit=1)] == [early]
    assert orders.claimable([], NOW, limit=10) == []


def test_any_number_of_lanes_may_be_asked_for_at_once(orders: OrderStore) -> None:
    order = stored(orders, an_order(CAPACITY, now=NOW - SOON))
    lanes = [*order.lanes, *(f"gcp:{zone}/capacity" for zone in range(60))]

    assert [snapshot.order for snapshot in orders.claimable(lanes, NOW, limit=10)] == [order]


def test_a_claimable_order_is_claimed_from_what_was_seen(orders: OrderStore) -> None:
    order = stored(orders)
    (seen,) = orders.claimable([order.lane], NOW, limit=10)

    assert orders.apply(order.id, a_claim(), NOW, seen=seen).state is State.CLAIMED
    assert orders.claimable([order.lane], NOW, limit=10) == []


def test_the_orders_that_a_request_changed_are_found_by_it(orders: OrderStore) -> None:
    claim = a_claim()
    claimed = orders.apply(stored(orders).id, claim, NOW)
    orders.apply(stored(orders).id, a_claim(), NOW)

    assert orders.remembering(claim.request_id) == [claimed]
    assert orders.remembering(str(uuid4())) == []


def test_due_are_those_whose_time_has_come_from_the_longest_due(orders: OrderStore) -> None:
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


def test_due_are_ended_ones_whose_output_was_kept_long_enough(orders: OrderStore) -> None:
    succeeded = stored(orders, an_order(EXPORT, state=State.SUCCEEDED, due_at=NOW - SOON))
    failed = stored(orders, an_order(state=State.FAILED, due_at=NOW))
    stored(orders, an_order(state=State.SUCCEEDED, due_at=NOW + SOON))
    stored(orders, an_order(state=State.CANCELLED, due_at=None))
    stored(orders, an_order(due_at=NOW))

    assert [snapshot.order for snapshot in orders.due(FINAL, NOW, limit=10).orders] == [succeeded, failed]


def test_a_launcher_holds_the_orders_whose_lease_names_it(orders: OrderStore) -> None:
    held = [orders.apply(stored(orders).id, a_claim(), NOW) for _ in range(2)]
    orders.apply(stored(orders).id, a_claim(OTHER_LAUNCHER), NOW)
    stored(orders)
    given_back = orders.apply(stored(orders).id, a_claim(), NOW)
    orders.apply(given_back.id, Return(str(uuid4()), 1, LAUNCHER, Reason.RETURNED, "going down"), NOW)

    assert _by_id(orders.held_by(LAUNCHER)) == _by_id(held)
    assert orders.held_by("rack/gamma") == []


def test_a_name_without_identity_holds_what_all_of_its_identities_hold_and_an_identity_its_own(
    orders: OrderStore,
) -> None:
    one, other = (holder_of("rack", "alpha", str(uuid4())) for _ in range(2))
    of_one = [orders.apply(stored(orders).id, a_claim(one), NOW)]
    of_other = [orders.apply(stored(orders).id, a_claim(other), NOW)]
    of_none = [orders.apply(stored(orders).id, a_claim("rack/alpha"), NOW)]
    for holder in ("rack/alpha-2", "rack/alpha.2", "rack/alph", holder_of("attic", "alpha", str(uuid4()))):
        orders.apply(stored(orders).id, a_claim(holder), NOW)

    assert _by_id(orders.held_by("rack/alpha")) == _by_id([*of_one, *of_other, *of_none])
    assert _by_id(orders.held_by(one)) == _by_id(of_one)
    assert _by_id(orders.held_by(other)) == _by_id(of_other)


def test_a_removed_order_is_nowhere_and_removed_again_is_no_error(orders: OrderStore) -> None:
    ended, other = _ended(orders), _ended(orders)
    seen = orders.look(ended.id)

    orders.remove(ended.id)
    orders.remove(ended.id)

    with pytest.raises(NotFound):
        orders.get(ended.id)
    with pytest.raises(NotFound):
        orders.apply(ended.id, Cancel(str(uuid4())), NOW, seen=seen)
    assert orders.page(OrderQuery()).orders == [other]


@pytest.mark.parametrize("order_id", UNKNOWN_IDS)
def test_removing_an_order_that_is_none_is_no_error(orders: OrderStore, order_id: str) -> None:
    orders.remove(order_id)


def test_an_order_that_has_not_ended_is_not_removed(orders: OrderStore) -> None:
    waiting = stored(orders)
    held = orders.apply(stored(orders).id, a_claim(), NOW)

    for order in (waiting, held):
        with pytest.raises(WrongState) as refused:
            orders.remove(order.id)
        assert refused.value.state is order.state
        assert orders.get(order.id) == order


def test_the_key_of_a_removed_order_stands_for_nothing_else(orders: OrderStore) -> None:
    ended, again = _ended(orders, "key"), an_order()
    orders.remove(ended.id)

    with pytest.raises(Gone):
        orders.create(again, a_key(again, "key"))
    with pytest.raises(KeyReused):
        orders.create(again, a_key(again, "key", fingerprint="1" * 64))
    with pytest.raises(NotFound):
        orders.get(again.id)


def test_a_forgotten_key_may_be_used_anew_and_its_order_stays(orders: OrderStore) -> None:
    first, again = an_order(now=NOW - SOON), an_order()
    orders.create(first, a_key(first, "key"))

    assert orders.forget_keys(NOW, limit=10) == 1
    assert orders.get(first.id) == first
    assert orders.create(again, a_key(again, "key")).order == again


def test_only_keys_used_before_that_time_are_forgotten(orders: OrderStore) -> None:
    order = an_order()
    orders.create(order, a_key(order, "key"))

    assert orders.forget_keys(NOW, limit=10) == 0
    assert orders.create(an_order(), a_key(order, "key")).order == order


def test_keys_are_forgotten_some_at_a_time(orders: OrderStore) -> None:
    for _ in range(5):
        stored(orders, an_order(now=NOW - SOON))

    assert [orders.forget_keys(NOW, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_forgetting_keys_twice_at_once_does_no_harm(orders: OrderStore) -> None:
    for _ in range(20):
        stored(orders, an_order(now=NOW - SOON))

    answers = at_once([partial(orders.forget_keys, NOW, 10)] * 4)

    assert all(isinstance(answer, int) for answer in answers)
    orders.forget_keys(NOW, limit=100)
    assert orders.forget_keys(NOW, limit=100) == 0


def test_pages_go_from_the_newest_to_the_oldest_and_miss_none(orders: OrderStore) -> None:
    twins = [stored(orders, an_order(now=NOW - SOON)) for _ in range(3)]
    newest, oldest = stored(orders, an_order()), stored(orders, an_order(now=NOW - 2 * SOON))
    page = partial(_page, orders, limit=2)

    first = page()
    second = page(after=first.next)
    third = page(after=second.next)

    expected = [newest, *sorted(twins, key=lambda order: order.id, reverse=True), oldest]
    assert [*first.orders, *second.orders, *third.orders] == expected
    assert third.next is None


def test_a_page_mark_outlives_its_order_being_changed(orders: OrderStore) -> None:
    older, newer = stored(orders, an_order(now=NOW - SOON)), stored(orders)
    first = _page(orders, state=State.QUEUED, limit=1)
    orders.apply(newer.id, a_claim(), NOW)

    assert _page(orders, state=State.QUEUED, limit=1, after=first.next).orders == [older]


FILTERS: list[tuple[OrderQuery, Callable[[Order], bool]]] = [
    (OrderQuery(), lambda order: True),
    (OrderQuery(account="acme"), lambda order: order.account == "acme"),
    (OrderQuery(states=frozenset({State.CLAIMED})), lambda order: order.state is State.CLAIMED),
    (OrderQuery(kind=OrderKind.EXPORT), lambda order: order.kind is OrderKind.EXPORT),
    (OrderQuery(lane="*/capacity"), lambda order: order.kind is OrderKind.CAPACITY),
    (
        OrderQuery("acme", frozenset({State.QUEUED, State.CLAIMED}), lane="local:*/capacity/tiny", oldest_first=True),
        lambda order: (order.account, order.kind) == ("acme", OrderKind.CAPACITY),
    ),
    (
        OrderQuery(account="acme", states=frozenset({State.QUEUED}), kind=OrderKind.TASK),
        lambda order: (order.account, order.state, order.kind) == ("acme", State.QUEUED, OrderKind.TASK),
    ),
]


@pytest.mark.parametrize(("query", "fits"), FILTERS)
def test_a_page_holds_only_what_was_asked_for(
    orders: OrderStore, query: OrderQuery, fits: Callable[[Order], bool]
) -> None:
    every = [
        stored(orders, an_order(spec, account, state=state))
        for spec in (TASK, EXPORT, CAPACITY)
        for account in ("acme", "umbrella")
        for state in (State.QUEUED, State.CLAIMED)
    ]

    found = orders.page(query).orders

    assert {order.id for order in found} == {order.id for order in every if fits(order)}
    assert orders.count(query) == len(found)


def test_pages_lead_from_the_oldest_order_to_the_newest_where_that_is_asked_for(orders: OrderStore) -> None:
    older, twins = stored(orders, an_order(now=NOW - SOON)), [stored(orders), stored(orders)]
    first = orders.page(OrderQuery(oldest_first=True, limit=2))
    second = orders.page(OrderQuery(oldest_first=True, limit=2, after=first.next))

    assert [*first.orders, *second.orders] == [older, *sorted(twins, key=lambda order: order.id)]
    assert second.next is None


@pytest.mark.parametrize(
    "lane", ["local:dev/capacity/tiny", "local:*/capacity/tiny", "*/capacity/tiny", "local:dev/capacity", "*/capacity"]
)
def test_a_capacity_order_may_be_asked_for_by_place_or_cloud_or_size_or_none(orders: OrderStore, lane: str) -> None:
    order = stored(orders, an_order(CAPACITY))
    stored(orders, an_order(TASK))

    assert [snapshot.order for snapshot in orders.claimable([lane], NOW, limit=10)] == [order]


FORGED: Final = (
    "0001-01-01T00:00:00+14:00 abc",  # before the first moment of UTC
    "9999-12-31T23:59:59.999999-14:00 abc",  # after its last
    "2026-01-01T00:00:00+00:00 __a__",
    "2026-01-01T00:00:00+00:00 a/b",
    "2026-01-01T00:00:00 abc",
)


@pytest.mark.parametrize(
    "after",
    [
        *("", "nonsense", "bm9uc2Vuc2U=", "MjAyNi0wMS0wMSBpZA==", "ключ"),
        *(base64.urlsafe_b64encode(text.encode()).decode() for text in FORGED),
    ],
)
def test_a_page_mark_that_is_not_ours_is_invalid(orders: OrderStore, after: str) -> None:
    with pytest.raises(Invalid) as refused:
        _page(orders, after=after)
    assert set(refused.value.fields) == {"after"}


def _page(orders: OrderStore, *, state: State | None = None, limit: int = 50, after: str | None = None) -> OrderPage:
    return orders.page(OrderQuery(states=frozenset({state} if state else ()), limit=limit, after=after))


def _ended(orders: OrderStore, key: str | None = None) -> Order:
    """A stored order that was cancelled before anybody took it."""
    order = an_order()
    orders.create(order, a_key(order, key))
    return orders.apply(order.id, Cancel(str(uuid4())), NOW)


def _by_id(orders: Iterable[Order]) -> list[Order]:
    return sorted(orders, key=lambda order: order.id)


def test_a_lasting_key_is_kept_until_the_order_that_it_is_removed_with(orders: OrderStore) -> None:
    dead, successor = _ended(orders), an_order()
    key = replace(a_key(successor, "requeue\nit"), lasting=True)
    orders.create(successor, key)
    orders.apply(successor.id, Cancel(str(uuid4())), NOW)
    orders.remove(successor.id)

    assert orders.forget_keys(NOW + timedelta(days=365), limit=10) == 1
    with pytest.raises(Gone):
        orders.create(successor, key)
    orders.remove(dead.id, "requeue\nit")
    assert orders.create(successor, key).order == successor


def test_a_request_that_holds_an_order_is_given_that_one_and_takes_no_other(orders: OrderStore) -> None:
    first, second = stored(orders), stored(orders)
    claim = a_claim()

    held = orders.claim(orders.look(first.id), claim, NOW)

    assert held == advance(first, claim, NOW)
    assert orders.claim(orders.look(second.id), claim, NOW) == held
    assert orders.get(second.id) == second
    assert orders.claim(orders.look(second.id), a_claim(OTHER_LAUNCHER), NOW).id == second.id


def test_a_request_that_lost_its_order_takes_another_and_then_holds_that(orders: OrderStore) -> None:
    first, second, third = stored(orders), stored(orders), stored(orders)
    claim = a_claim()
    orders.claim(orders.look(first.id), claim, NOW)
    orders.apply(first.id, Return(str(uuid4()), 1, LAUNCHER, Reason.RETURNED, "going down"), NOW)

    assert orders.claim(orders.look(second.id), claim, NOW).id == second.id
    assert orders.claim(orders.look(third.id), claim, NOW).id == second.id
    assert orders.get(third.id) == third


def test_of_claims_of_one_request_at_once_one_order_comes(orders: OrderStore) -> None:
    claim, waiting = a_claim(), [stored(orders) for _ in range(10)]
    seen = [orders.look(order.id) for order in waiting]

    answers = at_once(partial(orders.claim, one, claim, NOW) for one in seen)

    (held,) = {answer.id for answer in answers if isinstance(answer, Order)}
    assert len(answers) == 10
    assert [order.id for order in waiting if orders.get(order.id).state is State.CLAIMED] == [held]


def test_a_claim_is_known_again_though_an_earlier_version_took_its_launchers_identity_away(orders: OrderStore) -> None:
    claim = a_claim(holder_of("rack", "alpha", str(uuid4())))
    first, second = stored(orders), stored(orders)
    orders.claim(orders.look(first.id), claim, NOW)
    renewed = orders.apply(first.id, Renew(str(uuid4()), 1, holder_of("rack", "alpha"), NOW + LEASE), NOW)

    assert orders.claim(orders.look(second.id), claim, NOW) == renewed
    assert orders.get(second.id).state is State.QUEUED


def test_a_claim_is_refused_as_any_other_change_would_be(orders: OrderStore) -> None:
    order = stored(orders)
    stale = orders.look(order.id)
    orders.claim(stale, a_claim(), NOW)

    with pytest.raises(WrongState):
        orders.claim(stale, a_claim(OTHER_LAUNCHER), NOW)
    ended = _ended(orders)
    seen = orders.look(ended.id)
    orders.remove(ended.id)
    with pytest.raises(NotFound):
        orders.claim(seen, a_claim(), NOW)
