"""The contract of every order store about claims: one launcher gets an order, and one claim gets one order."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import uuid4

import pytest

from functions.domain.events import Cancel, Renew, Return
from functions.domain.holder import holder_of
from functions.domain.order import Order
from functions.domain.refusals import NotFound, WrongState
from functions.domain.rules import advance
from functions.ports.orders import OrderStore
from shared.domain.order import LEASE, Reason, State
from shared.domain.spec import SessionSpec
from tests.contract.conftest import stored
from tests.factories import CAPACITY, EXPORT, LAUNCHER, NOW, TASK, a_claim, a_key, an_order
from tests.later_version import LaterVersion
from tests.threads import at_once

SOON = timedelta(seconds=1)
CAPACITY_LANE = an_order(CAPACITY).lane
OTHER_LAUNCHER = "rack/beta"


def test_of_two_claims_of_one_order_exactly_one_wins(orders: OrderStore) -> None:
    for _ in range(10):
        order = stored(orders)
        answers = at_once(partial(orders.apply, order.id, a_claim(who), NOW) for who in (LAUNCHER, OTHER_LAUNCHER))

        winners = [answer for answer in answers if isinstance(answer, Order)]
        losers = [answer for answer in answers if isinstance(answer, WrongState)]
        assert (len(winners), len(losers)) == (1, 1)
        assert orders.get(order.id) == winners[0]


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


def test_an_order_whose_queue_ttl_has_passed_is_not_claimable_though_it_has_not_ended(orders: OrderStore) -> None:
    dead = replace(an_order(now=NOW - SOON), expires_at=NOW)
    orders.create(dead, a_key(dead))
    order = stored(orders, an_order(now=NOW - SOON))

    assert [snapshot.order for snapshot in orders.claimable([order.lane], NOW, limit=10)] == [order]
    assert [one.order for one in orders.claimable_by_account([order.lane], NOW, "", limit=10).orders] == [order]


def test_claimable_orders_are_read_by_account_and_a_reader_passes_the_rest_of_an_account(orders: OrderStore) -> None:
    lane = an_order().lane
    many = [stored(orders, an_order(account="b", now=NOW - nth * SOON)) for nth in range(4)]
    first, last = (stored(orders, an_order(account=name)) for name in ("a", "c"))
    stored(orders, an_order(EXPORT, account="d"))
    stored(orders, an_order(account="e", available_at=NOW + SOON))

    page = orders.claimable_by_account([lane], NOW, "", limit=3)
    rest = orders.claimable_by_account([lane], NOW, "b", limit=3)

    assert ([one.order for one in page.orders], page.last) == ([first, many[3], many[2]], "b")
    assert ([one.order for one in rest.orders], rest.last) == ([last], None)


def read_by_account(orders: OrderStore, lanes: Sequence[str], limit: int) -> list[Order]:
    """Return what all pages have, one after another."""
    found, after = list[Order](), ""
    while True:
        page = orders.claimable_by_account(lanes, NOW, after, limit)
        found += [one.order for one in page.orders]
        if page.last is None:
            return found
        assert page.last > after
        after = page.last


FAR_APART: Final = [an_order(TASK).lane, *(f"between-{number}:x/capacity" for number in range(40)), CAPACITY_LANE]
"""More lanes than Firestore takes in one query. The first and the last of them are in different ones."""


def test_claimable_orders_of_any_number_of_lanes_are_read_by_account_without_leaving_one_out(
    orders: OrderStore,
) -> None:
    every = [stored(orders, an_order(spec, account=f"a{n}")) for n in range(6) for spec in (CAPACITY, TASK)]
    every.append(stored(orders, an_order(CAPACITY, account="b")))

    found = read_by_account(orders, FAR_APART, limit=4)

    assert min(FAR_APART) == FAR_APART[0]
    assert max(FAR_APART) == FAR_APART[-1]
    assert {order.account for order in found} == {order.account for order in every}
    assert len({order.id for order in found}) == len(found)


def test_orders_that_cannot_be_read_leave_out_no_account_behind_them(orders: OrderStore, later: LaterVersion) -> None:
    tasks = [stored(orders, an_order(TASK, account=f"a{n}")) for n in range(5)]
    machines = [stored(orders, an_order(CAPACITY, account=f"m{n}")) for n in range(5)]
    for order in tasks[:3]:
        later.order(orders, order.id)

    found = read_by_account(orders, FAR_APART, limit=4)

    assert [order.id for order in found] == [order.id for order in (*tasks[3:], *machines)]


def test_any_number_of_lanes_may_be_asked_for_at_once(orders: OrderStore) -> None:
    order = stored(orders, an_order(CAPACITY, now=NOW - SOON))
    lanes = [*order.lanes, *(f"gcp:{zone}/capacity" for zone in range(60))]

    assert [snapshot.order for snapshot in orders.claimable(lanes, NOW, limit=10)] == [order]


def test_a_claimable_order_is_claimed_from_its_snapshot(orders: OrderStore) -> None:
    order = stored(orders)
    (seen,) = orders.claimable([order.lane], NOW, limit=10)

    assert orders.apply(order.id, a_claim(), NOW, seen=seen).state is State.CLAIMED
    assert orders.claimable([order.lane], NOW, limit=10) == []


def test_a_launcher_holds_the_orders_whose_lease_names_it(orders: OrderStore) -> None:
    held = [orders.apply(stored(orders).id, a_claim(), NOW) for _ in range(2)]
    orders.apply(stored(orders).id, a_claim(OTHER_LAUNCHER), NOW)
    stored(orders)
    given_back = orders.apply(stored(orders).id, a_claim(), NOW)
    orders.apply(given_back.id, Return(str(uuid4()), 1, LAUNCHER, Reason.RETURNED, "going down"), NOW)

    assert _by_id(orders.held_by(LAUNCHER)) == _by_id(held)
    assert orders.held_by("rack/gamma") == []


def test_of_what_a_launcher_holds_only_what_is_to_stop_is_read_if_only_that_is_asked_for(orders: OrderStore) -> None:
    session = SessionSpec(session_name="survey-1", prompt="Work.")
    running, to_stop, anothers = (orders.create(one, a_key(one)).order for one in (an_order(session) for _ in range(3)))
    for order in (running, to_stop):
        orders.apply(order.id, a_claim(), NOW)
    orders.apply(anothers.id, a_claim(OTHER_LAUNCHER), NOW)
    for order in (to_stop, anothers):
        orders.apply(order.id, Cancel(str(uuid4())), NOW)
    orders.apply(stored(orders).id, Cancel(str(uuid4())), NOW)

    assert [order.id for order in orders.held_by(LAUNCHER, to_stop=True)] == [to_stop.id]
    assert {order.id for order in orders.held_by(LAUNCHER)} == {running.id, to_stop.id}


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


def _ended(orders: OrderStore, key: str | None = None) -> Order:
    """A stored order that was cancelled before anybody took it."""
    order = an_order()
    orders.create(order, a_key(order, key))
    return orders.apply(order.id, Cancel(str(uuid4())), NOW)


def _by_id(orders: Iterable[Order]) -> list[Order]:
    return sorted(orders, key=lambda order: order.id)


def test_what_is_held_is_counted_for_a_name_and_for_its_account(orders: OrderStore) -> None:
    holders = ("rack/alpha", "rack/alpha#a-b", "rack/beta", "rack/alphabet", "racks/alpha", "rac/alpha", "attic/alpha")
    for holder in holders:
        orders.apply(stored(orders).id, a_claim(holder), NOW)
    returned = stored(orders)
    orders.apply(returned.id, a_claim("rack/alpha"), NOW)
    orders.apply(returned.id, Return("a-return", 1, "rack/alpha", Reason.RETURNED, ""), NOW)

    assert [orders.count_held("rack", name) for name in ("alpha", "beta", "gamma", None)] == [2, 1, 0, 4]
    assert orders.count_held("nobody") == 0


def test_a_request_that_holds_an_order_gets_that_one_again(orders: OrderStore) -> None:
    first, second = stored(orders), stored(orders)
    claim = a_claim()

    held = orders.claim(orders.read(first.id), claim, NOW)

    assert held == advance(first, claim, NOW)
    assert orders.claim(orders.read(second.id), claim, NOW) == held
    assert orders.get(second.id) == second
    assert orders.claim(orders.read(second.id), a_claim(OTHER_LAUNCHER), NOW).id == second.id


def test_a_request_that_lost_its_order_takes_another_and_then_holds_that(orders: OrderStore) -> None:
    first, second, third = stored(orders), stored(orders), stored(orders)
    claim = a_claim()
    orders.claim(orders.read(first.id), claim, NOW)
    orders.apply(first.id, Return(str(uuid4()), 1, LAUNCHER, Reason.RETURNED, "going down"), NOW)

    assert orders.claim(orders.read(second.id), claim, NOW).id == second.id
    assert orders.claim(orders.read(third.id), claim, NOW).id == second.id
    assert orders.get(third.id) == third


def test_of_claims_of_one_request_at_once_one_order_comes(orders: OrderStore) -> None:
    claim, waiting = a_claim(), [stored(orders) for _ in range(10)]
    seen = [orders.read(order.id) for order in waiting]

    answers = at_once(partial(orders.claim, one, claim, NOW) for one in seen)

    (held,) = {answer.id for answer in answers if isinstance(answer, Order)}
    assert len(answers) == 10
    assert [order.id for order in waiting if orders.get(order.id).state is State.CLAIMED] == [held]


def test_a_claim_is_known_again_though_an_earlier_version_took_its_launchers_identity_away(orders: OrderStore) -> None:
    claim = a_claim(holder_of("rack", "alpha", str(uuid4())))
    first, second = stored(orders), stored(orders)
    orders.claim(orders.read(first.id), claim, NOW)
    renewed = orders.apply(first.id, Renew(str(uuid4()), 1, holder_of("rack", "alpha"), NOW + LEASE), NOW)

    assert orders.claim(orders.read(second.id), claim, NOW) == renewed
    assert orders.get(second.id).state is State.QUEUED


def test_a_claim_is_refused_as_any_other_change_would_be(orders: OrderStore) -> None:
    order = stored(orders)
    stale = orders.read(order.id)
    orders.claim(stale, a_claim(), NOW)

    with pytest.raises(WrongState):
        orders.claim(stale, a_claim(OTHER_LAUNCHER), NOW)
    ended = _ended(orders)
    seen = orders.read(ended.id)
    orders.remove(ended.id)
    with pytest.raises(NotFound):
        orders.claim(seen, a_claim(), NOW)


@pytest.mark.parametrize(
    "lane", ["local:dev/capacity/tiny", "local:*/capacity/tiny", "*/capacity/tiny", "local:dev/capacity", "*/capacity"]
)
def test_a_capacity_order_may_be_claimed_by_datacenter_or_cloud_or_size_or_none(orders: OrderStore, lane: str) -> None:
    order = stored(orders, an_order(CAPACITY))
    stored(orders, an_order(TASK))

    assert [snapshot.order for snapshot in orders.claimable([lane], NOW, limit=10)] == [order]


def test_what_an_account_s_launchers_hold_is_found_under_every_name(orders: OrderStore) -> None:
    names = ["rack/alpha", "rack/beta#0f3bc5de-6a8e-4f0e-9d0c-5a9d4c1d8a37", "rack/*", "rack/ÿ"]
    others = ["rack-2/alpha", "rac/k", "rack0/alpha", "Rack/alpha", "a/rack"]
    held = {name: orders.claim(orders.read(stored(orders).id), a_claim(name), NOW) for name in [*names, *others]}
    stored(orders)

    assert _by_id(orders.held_by_account("rack")) == _by_id([held[name] for name in names])
    assert orders.held_by_account("nobody") == []
