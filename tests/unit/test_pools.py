"""Plans of pools: each slot has one order, also after crashes and concurrent plans, and the target is reached."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import TypeAdapter

from functions.domain import request_ids
from functions.domain.accounts import NOBODY
from functions.domain.agents import Agent
from functions.domain.eligibility import SILENT_AFTER, Demands, eligible
from functions.domain.events import AnyEvent, Cancel, Claim, Fail, Lapse, Register, Release, Start, Stop
from functions.domain.order import LAPSE_MARGIN, Order
from functions.domain.pools import (
    MIN_SETTLED_RUN,
    Pool,
    Slot,
    given_up,
    order_for,
    passed_over,
    plan,
    revised,
    stays,
)
from functions.domain.refusals import LeaseLost, WrongState
from functions.domain.rules import advance
from functions.domain.timing import FIRST_BACKOFF, MAX_BACKOFF, SPREAD
from shared.domain.order import LEASE, Reason, State
from shared.domain.spec import Attestation, CapacitySpec, NodeSize
from tests.factories import LAUNCHER, NOW

DATACENTER_AND_SIZE = ("gcp:us-central1-a", "tiny")
Orders = dict[str, Order]


def a_pool(count: int = 2, **changes: Any) -> Pool:
    pool = Pool(
        request_ids.pool(NOBODY, *DATACENTER_AND_SIZE),
        NOBODY,
        *DATACENTER_AND_SIZE,
        count,
        "warm",
        NOW,
        NOW,
        dispatch=True,
    )
    return replace(pool, **changes)


def created(pool: Pool, orders: Orders | None = None) -> Orders:
    """The orders of a pool, those that were not there queued."""
    orders = orders or {}
    return {one.order_id: orders.get(one.order_id) or order_for(pool, one, NOW) for one in pool.members}


def lived(order: Order, *events: Callable[[Order], AnyEvent]) -> Order:
    for event in events:
        order = advance(order, event(order), max(NOW, order.available_at))
    return order


def claimed(order: Order, attended: bool = True) -> Order:
    return lived(order, lambda one: Claim("c", LAUNCHER, one.available_at + LEASE, attended))


def running(order: Order, attended: bool = True) -> Order:
    return lived(claimed(order, attended), lambda one: Start("s", one.epoch))


def failed(order: Order) -> Order:
    return lived(claimed(order), lambda one: Fail("f", one.epoch, Reason.LAUNCH_FAILED, "no"))


def filled(count: int = 2, **changes: Any) -> tuple[Pool, Orders]:
    """A pool all of whose machines run."""
    pool = plan(a_pool(count, **changes), {})
    return pool, {order_id: running(order) for order_id, order in created(pool).items()}


def test_a_new_pool_has_as_many_slots_as_its_target() -> None:
    pool = plan(a_pool(3), {})
    assert [(member.place, member.generation) for member in pool.members] == [(1, 1), (2, 1), (3, 1)]
    assert len({member.order_id for member in pool.members}) == 3


def test_a_recorded_order_that_is_not_created_yet_is_not_planned_again() -> None:
    pool = plan(a_pool(3), {})
    assert plan(pool, {}) == pool


@pytest.mark.parametrize("state", [claimed, running, lambda order: order])
def test_a_machine_that_boots_or_runs_is_not_ordered_again_before_its_agent_registers(
    state: Callable[[Order], Order],
) -> None:
    pool = plan(a_pool(2), {})
    assert plan(pool, {order_id: state(order) for order_id, order in created(pool).items()}) == pool


def test_a_slot_whose_order_failed_gets_a_new_order_that_waits() -> None:
    pool, orders = filled(2)
    died = pool.members[0]
    orders[died.order_id] = failed(order_for(pool, died, NOW))

    again = plan(pool, orders)

    member = again.members[0]
    assert (member.place, member.generation, member.failures) == (1, 2, 1)
    assert again.members[1] == pool.members[1]
    wait = order_for(again, member, NOW).available_at - NOW
    assert FIRST_BACKOFF <= wait <= FIRST_BACKOFF * (1 + SPREAD)


def test_slots_that_keep_failing_wait_longer_each_time_up_to_the_maximum() -> None:
    pool, waits = plan(a_pool(1), {}), list[timedelta]()
    for _ in range(12):
        order = order_for(pool, pool.members[0], NOW)
        waits.append(order.available_at - NOW)
        pool = plan(pool, {order.id: failed(order)})
    assert waits[0] == timedelta()
    assert waits[2] > waits[1] > timedelta()
    assert MAX_BACKOFF <= waits[-1] <= MAX_BACKOFF * (1 + SPREAD)


def test_a_machine_that_ran_well_before_it_failed_is_replaced_as_if_for_the_first_time() -> None:
    pool, orders = filled(1)
    pool = replace(pool, members=(replace(pool.members[0], failures=7),))
    (order,) = orders.values()
    died = advance(order, Fail("f", order.epoch, Reason.PROGRAM_FAILED, "no"), NOW + MIN_SETTLED_RUN)
    assert plan(pool, {order.id: died}).members[0].failures == 1


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED, State.EXPIRED])
def test_an_order_that_ended_without_failing_is_replaced_at_once(state: State) -> None:
    pool, orders = filled(1)
    (order,) = orders.values()
    again = plan(pool, {order.id: replace(order, state=state, lease=None)})
    assert (again.members[0].generation, again.members[0].failures) == (2, 0)


def test_surplus_is_released_from_queued_to_running_and_youngest_first() -> None:
    pool = plan(a_pool(5), {})
    one, two, three, four, five = created(pool).values()
    orders = {order.id: order for order in (running(one), two, running(three), claimed(four), five)}
    given = []
    for count in range(4, -1, -1):
        pool = plan(replace(pool, min_warm_count=count), orders)
        given += [member.place for member in pool.members if member.released and member.place not in given]
    assert given == [5, 2, 4, 3, 1]


def test_a_released_slot_stays_until_its_order_has_ended() -> None:
    pool, orders = filled(2)
    pool = plan(replace(pool, min_warm_count=1), orders)
    assert [member.released for member in pool.members] == [False, True]
    assert plan(pool, orders) == pool

    given = pool.members[1].order_id
    orders[given] = lived(orders[given], lambda _: Cancel("x"), lambda one: Release("r", one.epoch, LAUNCHER))
    assert [member.place for member in plan(pool, orders).members] == [1]


def test_a_released_slot_is_not_taken_back_and_no_number_is_used_twice() -> None:
    pool, orders = filled(2)
    pool = plan(replace(pool, min_warm_count=1), orders)
    pool = plan(replace(pool, min_warm_count=2), orders)
    assert [(member.place, member.released) for member in pool.members] == [(1, False), (2, True), (3, False)]
    ids = {member.order_id for member in pool.members}

    gone = {order_id: replace(order, state=State.SUCCEEDED, lease=None) for order_id, order in created(pool).items()}
    emptied = plan(replace(pool, min_warm_count=0), gone)
    assert emptied.members == ()
    refilled = plan(replace(emptied, min_warm_count=3), {})
    assert [member.place for member in refilled.members] == [4, 5, 6]
    assert ids.isdisjoint(member.order_id for member in refilled.members)


def test_a_machine_that_is_not_attended_is_never_released_and_counts() -> None:
    pool = plan(a_pool(3), {})
    one, two, three = created(pool).values()
    orders = {one.id: running(one, attended=False), two.id: running(two), three.id: claimed(three, attended=False)}
    pool = plan(replace(pool, min_warm_count=0), orders)
    assert [member.released for member in pool.members] == [False, True, False]
    assert [stays(member, orders) for member in pool.members] == [True, False, True]


def test_a_cancelled_order_no_longer_counts_but_keeps_its_slot_until_it_ends() -> None:
    pool, orders = filled(1)
    (order,) = orders.values()
    again = plan(pool, {order.id: lived(order, lambda _: Cancel("x"))})
    assert [(member.place, member.generation) for member in again.members] == [(1, 1), (2, 1)]


def test_a_released_slot_counts_again_if_a_launcher_without_heartbeats_took_its_order() -> None:
    pool = plan(a_pool(1), {})
    pool = plan(replace(pool, min_warm_count=0), created(pool))
    (order,) = created(pool).values()
    taken = {order.id: running(order, attended=False)}
    assert not stays(pool.members[0], {order.id: order})
    assert stays(pool.members[0], taken)
    assert plan(replace(pool, min_warm_count=1), taken).members == pool.members


@pytest.mark.parametrize("changes", [{"enabled": False}, {"dispatch": False}, {"standing": False}])
def test_a_pool_that_is_not_managed_is_neither_filled_nor_emptied(changes: dict[str, Any]) -> None:
    assert plan(a_pool(2, **changes), {}).members == ()
    pool, orders = filled(2)
    assert plan(replace(pool, min_warm_count=0, **changes), orders).members == pool.members
    ended = {order_id: replace(order, state=State.FAILED, lease=None) for order_id, order in orders.items()}
    assert plan(replace(pool, **changes), ended).members == ()


def test_a_fill_on_demand_orders_missing_machines_and_releases_none() -> None:
    pool = plan(a_pool(0, dispatch=False), {}, at_least=3)
    assert len(pool.members) == 3
    assert plan(pool, created(pool), at_least=1) == pool
    managed, orders = filled(2)
    assert plan(managed, orders, at_least=1) == managed
    assert len(plan(managed, orders, at_least=5).members) == 5


def test_a_pool_given_up_has_no_target_and_releases_all_slots() -> None:
    pool = given_up(plan(a_pool(2), {}), NOW + LEASE)
    assert (pool.standing, pool.enabled, pool.dispatch, pool.min_warm_count) == (False, False, False, 0)
    assert all(member.released for member in pool.members)
    assert pool.updated_at == NOW + LEASE


def test_a_slot_whose_order_was_removed_before_its_end_was_noticed_gets_the_next_generation() -> None:
    pool = plan(a_pool(2), {})
    passed = passed_over(pool, pool.members[0].order_id)
    assert (passed.members[0].place, passed.members[0].generation) == (1, 2)
    assert passed.members[1] == pool.members[1]
    assert passed_over(passed, pool.members[0].order_id) == passed


def test_a_change_that_changes_nothing_leaves_no_trace() -> None:
    pool = a_pool(2)
    assert revised(pool, NOW + LEASE, min_warm_count=2) is pool
    assert revised(pool, NOW + LEASE, min_warm_count=3).updated_at == NOW + LEASE


def test_a_pools_orders_have_the_pools_fields() -> None:
    pool = plan(a_pool(1, attestation=Attestation.REQUIRED, reason="more"), {})
    order = order_for(pool, pool.members[0], NOW)
    assert order.spec == CapacitySpec(
        datacenter=DATACENTER_AND_SIZE[0], node_size=NodeSize.TINY, attestation=Attestation.REQUIRED, purpose="more"
    )
    assert (order.account, order.limits.boot_seconds, order.available_at) == (NOBODY, 1800, NOW)


def test_a_pool_comes_back_from_a_document_as_it_went() -> None:
    form = TypeAdapter(Pool)
    pool = plan(a_pool(2, attestation=Attestation.REQUIRED), {})
    assert form.validate_python(form.dump_python(pool)) == pool
    assert form.validate_json(form.dump_json(pool)) == pool


# --- which count --------------------------------------------------------------------------------


ALL, NONE = Demands(), Demands(verified=False, healthy=False)


def a_machine(attended: bool = True) -> Order:
    pool = plan(a_pool(1), {})
    (order,) = created(pool).values()
    return running(order, attended)


def an_agent(**changes: Any) -> Agent:
    agent = Agent("a", "vm", *DATACENTER_AND_SIZE, "00", "1.0.0", NOW, NOW)
    return replace(agent, **changes)


@pytest.mark.parametrize(
    ("order", "agent", "demands", "counts"),
    [
        (a_machine(), an_agent(), ALL, True),
        (claimed(order_for(a_pool(), Slot("x", 1), NOW)), None, NONE, False),
        (replace(a_machine(), cancel_requested_at=NOW), an_agent(), NONE, False),
        (a_machine(attended=False), None, NONE, True),
        (a_machine(), None, replace(NONE, verified=True), False),
        (a_machine(), None, replace(NONE, healthy=True), True),
        (a_machine(attended=False), None, replace(NONE, healthy=True), False),
        (a_machine(attended=False), an_agent(), replace(NONE, healthy=True), True),
        (a_machine(), an_agent(last_seen_at=NOW - SILENT_AFTER), replace(NONE, healthy=True), False),
    ],
)
def test_a_machine_counts_if_it_runs_and_meets_the_demands(
    order: Order, agent: Agent | None, demands: Demands, counts: bool
) -> None:
    assert eligible(order, agent, demands, NOW) is counts


def test_a_machine_without_an_agent_is_well_while_its_lease_stands() -> None:
    demands = replace(NONE, healthy=True)
    assert eligible(a_machine(), None, demands, NOW + LEASE - timedelta(seconds=1))
    assert not eligible(a_machine(), None, demands, NOW + LEASE)


# --- any history --------------------------------------------------------------------------------

FEW = st.integers(0, 4)
ANY = st.integers(0, 1000)
NEXT = {
    State.QUEUED: ["claim", "claim", "claim", "cancel"],
    State.CLAIMED: ["start", "start", "fail", "lapse", "stop", "cancel"],
    State.RUNNING: ["fail", "lapse", "stop", "cancel"],
}
"""What may happen to an order, the likelier the more often."""


class AnyHistory(RuleBasedStateMachine):
    """Some reconcile at once, each with what it saw, and stop anywhere; orders live and die; the target moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.record = a_pool(2)
        self.store: Orders = {}
        self.born: dict[str, int] = {}
        """The place of every order that ever was."""
        self.seen: list[Orders] = []
        self.decided: list[tuple[Pool, Orders]] = []

    # those who reconcile

    @rule()
    def check(self) -> None:
        self.seen = [*self.seen, dict(self.store)][-3:]

    @precondition(lambda self: self.seen)
    @rule(which=ANY, at_least=FEW, on_demand=st.booleans())
    def decide(self, which: int, at_least: int, on_demand: bool) -> None:
        orders = self.seen.pop(which % len(self.seen))
        self.record = plan(self.record, orders, at_least if on_demand else 0)
        self.decided = [*self.decided, (self.record, orders)][-3:]

    @precondition(lambda self: self.decided)
    @rule(which=ANY, only_one=st.booleans())
    def create(self, which: int, only_one: bool) -> None:
        pool, orders = self.decided[which % len(self.decided)]
        missing = [member for member in pool.members if member.order_id not in orders]
        for member in missing[:1] if only_one else missing:
            self.create_one(pool, member)

    def create_one(self, pool: Pool, member: Slot) -> None:
        """Like the store: one order for each id."""
        if member.order_id not in self.born:
            self.store[member.order_id] = order_for(pool, member, self.now)
            self.born[member.order_id] = member.place
        elif member.order_id not in self.store:
            self.record = passed_over(self.record, member.order_id)

    @precondition(lambda self: self.decided)
    @rule(which=ANY)
    def release(self, which: int) -> None:
        pool, _ = self.decided[which % len(self.decided)]
        for member in pool.members:
            order = self.store.get(member.order_id)
            if member.released and order is not None and not order.final and order.attended:
                self.happen(member.order_id, Cancel("cancel@pool"))

    @rule()
    def reconcile(self) -> None:
        """A whole run, without another between its steps."""
        orders = dict(self.store)
        self.record = plan(self.record, orders)
        for member in self.record.members:
            if member.order_id not in orders:
                self.create_one(self.record, member)
        self.decided = [*self.decided, (self.record, orders)][-3:]
        self.release(len(self.decided) - 1)

    # everybody else

    @rule(count=FEW, managed=st.booleans())
    def resize(self, count: int, managed: bool) -> None:
        self.record = replace(self.record, min_warm_count=count, dispatch=managed, standing=True, enabled=True)

    @rule()
    def give_up(self) -> None:
        self.record = given_up(self.record, self.now)

    @precondition(lambda self: any(not order.final for order in self.store.values()))
    @rule(which=ANY, attended=st.booleans(), nth=ANY)
    def live(self, which: int, attended: bool, nth: int) -> None:
        alive = sorted(order_id for order_id, order in self.store.items() if not order.final)
        order = self.store[alive[which % len(alive)]]
        self.now += timedelta(minutes=11)
        likely = NEXT[order.state]
        self.happen(order.id, self.event(order, likely[nth % len(likely)], attended))

    @precondition(lambda self: any(order.final for order in self.store.values()))
    @rule(which=ANY)
    def purge(self, which: int) -> None:
        ended = sorted(order_id for order_id, order in self.store.items() if order.final)
        del self.store[ended[which % len(ended)]]

    def event(self, order: Order, kind: str, attended: bool = True) -> AnyEvent:
        request_id = f"{kind}{self.now}"
        match kind:
            case "claim":
                return Claim(request_id, LAUNCHER, self.now + LEASE, attended)
            case "start":
                return Start(request_id, order.epoch)
            case "fail":
                return Fail(request_id, order.epoch, Reason.LAUNCH_FAILED, "no")
            case "lapse":
                return Lapse(request_id, order.epoch)
            case "stop" if order.state is State.RUNNING:
                return Release(request_id, order.epoch, LAUNCHER)
            case "stop":
                return Stop(request_id, order.epoch, LAUNCHER)
            case _:
                return Cancel(request_id)

    def happen(self, order_id: str, event: AnyEvent) -> None:
        try:
            self.store[order_id] = advance(self.store[order_id], event, self.now)
        except (WrongState, LeaseLost):
            return

    # what holds at all times

    @invariant()
    def no_place_has_two_orders(self) -> None:
        alive = Counter(self.born[order_id] for order_id, order in self.store.items() if not order.final)
        assert all(count == 1 for count in alive.values()), alive

    @invariant()
    def no_order_is_forgotten(self) -> None:
        members = {member.order_id for member in self.record.members}
        assert {order_id for order_id, order in self.store.items() if not order.final} <= members

    def teardown(self) -> None:
        """Without disturbances, the pool reaches its target, except for machines that cannot be stopped, and then
        nothing changes.
        """
        self.record = replace(self.record, dispatch=True, standing=True, enabled=True)
        for _ in range(12):
            self.reconcile()
            self.now += 2 * MAX_BACKOFF + LEASE + LAPSE_MARGIN
            for order in list(self.store.values()):
                if order.state in (State.CLAIMED, State.PROVISIONING) or order.cancel_requested_at:
                    self.happen(order.id, self.event(order, "stop"))
                    self.happen(order.id, self.event(order, "start"))
                self.happen(order.id, self.event(order, "claim"))
        alive = [order for order in self.store.values() if not order.final]
        assert all(order.state is State.RUNNING for order in alive)
        unstoppable = sum(not order.lease_expires for order in alive)
        assert len(alive) == max(self.record.min_warm_count, unstoppable)
        assert plan(self.record, self.store) == self.record


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_an_agents_registration_does_not_change_a_pools_plan() -> None:
    pool, orders = filled(1)
    (order,) = orders.values()
    registered = advance(order, Register("r", order.epoch, "agent", "vm"), NOW)
    assert plan(pool, {order.id: registered}) == pool
