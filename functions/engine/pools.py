"""Sets pools' targets, and brings each pool to its target by creating and releasing orders."""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog

from functions.domain import request_ids
from functions.domain.accounts import NOBODY
from functions.domain.agents import Agent
from functions.domain.eligibility import eligible
from functions.domain.pools import Pool, given_up, machines_asked, order_for, passed_over, plan, revised
from functions.domain.quotas import Demand
from functions.domain.refusals import Conflict, Invalid, NotFound, OtherVersion, Unavailable
from functions.engine.concurrency import run_all
from functions.engine.order_sets import TIME_BUDGET, NamedOrder, OrderSet, OrderSets
from functions.engine.pool_status import Goal, PoolStatus
from functions.engine.quotas import Usage
from functions.engine.record_pages import every
from functions.ports.orders import IdempotencyKey
from functions.ports.records import Records
from shared.crash_points import Point, reach
from shared.domain.spec import Attestation
from shared.log_events import LogEvent

NO_TARGET: Final = "Capacity pool target not found"
MAX_ACCOUNT_POOLS: Final = 1000
"""The number of pools that are given up when their account is deleted."""
MAX_PURCHASED_POOLS: Final = 100
"""The number of pools that an account may have."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pools:
    """`attestation` is the demand of a pool's orders if the target sets none."""

    records: Records[Pool]
    agents: Records[Agent]
    order_sets: OrderSets
    usage: Usage
    clock: Callable[[], datetime]
    attestation: Attestation = Attestation.OPTIONAL

    def set_target(self, account: str, datacenter: str, node_size: str, **fields: Any) -> Pool:
        """Store these fields as the target of the account's pool, and return the pool. Raises Unavailable."""
        now = self.clock()
        fields = {"enabled": True, "attestation": self.attestation, **fields, "standing": True}
        fresh = replace(self._without_target(account, datacenter, node_size), **fields)
        return self.records.upsert(fresh.id, fresh, lambda stored: revised(stored, now, **fields))

    def add_target_once(self, account: str, datacenter: str, node_size: str, **fields: Any) -> None:
        """Store a target for a pool that was never stored. A target that was changed or removed since is left alone."""
        fresh = replace(self._without_target(account, datacenter, node_size), **fields, enabled=True, standing=True)
        with suppress(OtherVersion, Conflict):  # the pool was stored before
            if self.records.get(fresh.id) is None:
                self.records.add(fresh.id, fresh)

    def remove_target(self, account: str, datacenter: str, node_size: str) -> PoolStatus:
        """Remove the pool's target, and release its orders. Raises NotFound, Unavailable."""
        pool = self.records.get(request_ids.pool(account, datacenter, node_size))
        if pool is None or not (pool.standing or any(not member.released for member in pool.members)):
            raise NotFound(NO_TARGET)
        return self.give_up(pool)

    def admit(self, account: str, datacenter: str, node_size: str, target: int) -> None:
        """Count in what this target asks for beyond the present one.

        Raises Invalid if this would be a new pool, and the account already has the allowed number; QuotaExceeded.
        """
        pools = {pool.id: pool for pool in self.records.find("account", account, MAX_PURCHASED_POOLS)}
        pool = pools.get(request_ids.pool(account, datacenter, node_size))
        if len(pools) >= MAX_PURCHASED_POOLS and pool is None:
            raise Invalid(f"An account may have at most {MAX_PURCHASED_POOLS} pools")
        more = target - (0 if pool is None else machines_asked(pool))
        if more > 0:
            self.usage.admit(Demand(account, more, more))

    def give_up(self, pool: Pool) -> PoolStatus:
        """Remove the pool's target, and release its orders. Raises NotFound, Unavailable."""
        now = self.clock()
        return self.reconcile(self.records.change(pool.id, lambda stored: given_up(stored, now)))

    def of_account(self, account: str) -> Sequence[Pool]:
        """Return the account's pools. Raises Unavailable if another version wrote one of them."""
        return self.records.find_every("account", account, MAX_ACCOUNT_POOLS)

    def targets(self) -> Sequence[Pool]:
        """Return the pools that have a target, by datacenter, size and account."""
        pools = (pool for pool in every(self.records, "created_at") if pool.standing)
        return sorted(pools, key=lambda pool: (pool.datacenter, pool.node_size, pool.account))

    def operators_pool(self, datacenter: str, node_size: str, reason: str) -> Pool:
        """Return the operator's pool. If it is not stored, or has no target, its orders get this reason."""
        pool = self.records.get(request_ids.pool(NOBODY, datacenter, node_size))
        pool = pool or self._without_target(NOBODY, datacenter, node_size)
        return pool if pool.standing else replace(pool, reason=reason)

    def status(self, goals: Sequence[Goal]) -> list[PoolStatus]:
        """Return the status of each pool. Raises Unavailable if one could not be read."""
        return self._with_eligible(self._each(self._status_of, goals))

    def fill(self, goals: Sequence[Goal]) -> list[PoolStatus]:
        """Bring each pool to its goal, and return the status after that. Raises Unavailable if one could not be read.

        A pool without a target is stored too, because its record names the new orders; it still has no target.
        """

        def fill_one(goal: Goal) -> PoolStatus:
            pool, now = goal.pool, self.clock()
            if not pool.standing:
                pool = self.records.upsert(
                    pool.id,
                    pool,
                    lambda stored: stored if stored.standing else revised(stored, now, reason=pool.reason),
                )
            done = self.reconcile(pool, goal.count)
            return replace(done, goal=replace(goal, pool=done.pool))

        return self._with_eligible(self._each(fill_one, goals))

    def fill_target(self, pool: Pool) -> PoolStatus:
        """Bring one pool to its target, and return the status after that. Raises NotFound, Unavailable."""
        return self._with_eligible([self.reconcile(pool)])[0]

    def reconcile(self, pool: Pool, at_least: int = 0) -> PoolStatus:
        """Create an order for every slot, `at_least` this number, and release the surplus. Raises NotFound,
        Unavailable.
        """
        seen = self.order_sets.read([member.order_id for member in pool.members])
        if plan(pool, seen.orders, at_least) != pool:
            pool = self.records.change(pool.id, lambda stored: plan(stored, seen.orders, at_least))
            reach(Point.POOL_RECORDED)
        members, now = {member.order_id: member for member in pool.members}, self.clock()
        done = self.order_sets.create(
            seen,
            seen.missing(members),
            make=lambda order_id: NamedOrder(
                order_for(pool, members[order_id], now),
                IdempotencyKey(pool.account, request_ids.pool_key(order_id), order_id),
                claimable=not members[order_id].released,
            ),
            removed=lambda order_id: self.records.change(pool.id, lambda stored: passed_over(stored, order_id)),
        )
        surplus = [
            order_id
            for order_id, member in members.items()
            if member.released and order_id in done.orders and done.orders[order_id].attended
        ]
        status = PoolStatus(Goal.of(pool), self.order_sets.release(done, surplus, request_ids.cancel_by_pool()))
        if status.surplus:
            log.warning(
                LogEvent.POOL_SURPLUS,
                message="The pool has machines above its target, whose launchers cannot be asked to stop them.",
                pool=pool.id,
                surplus=status.surplus,
            )
        return status

    def sweep(self, limit: int) -> Counter[str]:
        """Reconcile at most `limit` pools, and return the numbers of `pools`, `created` and `released`.

        A failure of one pool does not affect others. If there are more than `limit`, each sweep begins with another.
        Raises Unavailable.
        """

        def reconcile_one(pool: Pool) -> PoolStatus:
            try:
                return self.reconcile(pool)
            except NotFound:
                return PoolStatus(Goal.of(pool), OrderSet())  # the pool was removed since

        pools = [pool for pool in every(self.records, "created_at") if pool.managed or pool.members]
        first = zlib.crc32(self.clock().isoformat().encode()) % len(pools) if len(pools) > limit else 0
        counts = Counter[str]()
        for status in run_all(reconcile_one, [*pools[first:], *pools[:first]][:limit], TIME_BUDGET):
            counts.update(pools=1, created=status.orders.created, released=status.orders.released)
        return counts

    def _status_of(self, goal: Goal) -> PoolStatus:
        return PoolStatus(goal, self.order_sets.read([member.order_id for member in goal.pool.members]))

    def _each(self, work: Callable[[Goal], PoolStatus], goals: Sequence[Goal]) -> list[PoolStatus]:
        statuses = run_all(work, goals, TIME_BUDGET)
        if len(statuses) < len(goals):  # an answer that leaves out pools would be wrong
            raise Unavailable("Not all pools could be read; send the same request again.")
        return statuses

    def _with_eligible(self, statuses: Sequence[PoolStatus]) -> list[PoolStatus]:
        """Read the agents with one query for each datacenter in which any agent has registered."""
        now = self.clock()
        datacenters = {status.pool.datacenter for status in statuses for order in status.counted if order.agent}
        agents = {
            agent.id: agent
            for datacenter in sorted(datacenters)
            for agent in every(self.agents, "registered_at", {"datacenter": datacenter})
        }
        return [
            replace(
                status,
                eligible=[
                    order
                    for order in status.counted
                    if eligible(order, agents.get(order.agent or ""), status.goal.demands, now)
                ],
            )
            for status in statuses
        ]

    def _without_target(self, account: str, datacenter: str, node_size: str) -> Pool:
        now = self.clock()
        return Pool(
            id=request_ids.pool(account, datacenter, node_size),
            account=account,
            datacenter=datacenter,
            node_size=node_size,
            min_warm_count=0,
            reason="",
            created_at=now,
            updated_at=now,
            enabled=False,
            attestation=self.attestation,
            standing=False,
        )
