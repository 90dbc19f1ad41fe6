"""Creates batches: a record that names its orders, and then the orders.

The record is written first, as a pool's is, so that a death in between loses no order: the sweep creates those that are
missing.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from functions.domain import request_ids
from functions.domain.batches import CHECK_INTERVAL, Batch, forgettable, order_of
from functions.domain.quotas import Demand
from functions.domain.refusals import KeyReused, NotFound, QuotaExceeded, Unavailable
from functions.engine.concurrency import run_all
from functions.engine.order_sets import TIME_BUDGET, NamedOrder, OrderSet, OrderSets
from functions.engine.quotas import Usage
from functions.engine.record_pages import until_none_is_left
from functions.ports.orders import IdempotencyKey
from functions.ports.records import Records
from shared.crash_points import Point, reach

NO_BATCH: Final = "Batch not found"


@dataclass(frozen=True, slots=True)
class Batches:
    records: Records[Batch]
    order_sets: OrderSets
    usage: Usage
    clock: Callable[[], datetime]

    def create(self, fresh: Batch, by_operator: bool = False) -> tuple[Batch, OrderSet]:
        """Store the batch, create its orders, and return both. A batch with its id and fingerprint is returned instead.

        Orders that could not be created now are created by the sweep. No quota limits what an operator asks for. Raises
        QuotaExceeded, KeyReused, Unavailable.
        """
        batch = self.records.upsert(fresh.id, fresh, lambda stored: stored) if by_operator else self._admit(fresh)
        if (batch.account, batch.fingerprint) != (fresh.account, fresh.fingerprint):
            raise KeyReused("This Idempotency-Key was used for another batch; use a new key for a new batch.")
        reach(Point.BATCH_RECORDED)
        if batch.complete:
            return batch, self.order_sets.read(batch.order_ids)
        return batch, self._create_missing(batch, OrderSet())

    def get(self, batch_id: str, owner: str | None) -> tuple[Batch, OrderSet]:
        """Return the batch, and its orders as they are now. `owner` is None for an operator.

        Raises NotFound, also if the batch belongs to another account, and Unavailable.
        """
        batch = self.records.get(batch_id)
        if batch is None or owner not in (None, batch.account):
            raise NotFound(NO_BATCH)
        return batch, self.order_sets.read(batch.order_ids)

    def remove_all(self, account: str) -> None:
        """Remove the account's batches, so that none of their orders is created any more. Raises Unavailable."""
        for batch in until_none_is_left(self.records, account):
            self.records.take(batch.id)

    def sweep(self, limit: int) -> Counter[str]:
        """Look at the batches that are due, at most `limit`: create missing orders, or forget a batch that is over.

        Return the numbers of `created` orders and of `records_forgotten`. Raises Unavailable.
        """
        due = self.records.before("due_at", self.clock(), limit)
        return sum(run_all(self._settle, due, TIME_BUDGET), start=Counter[str]())

    def _admit(self, fresh: Batch) -> Batch:
        """Store the batch if its account's quotas allow it. A batch with its id is returned instead."""
        demand = Demand(fresh.account, len(fresh.members))
        try:
            self.usage.admit(demand)
        except QuotaExceeded:
            if (stored := self.records.get(fresh.id)) is None:
                raise
            return stored  # a repeat asks for nothing new
        stored = self.records.upsert(fresh.id, fresh, lambda stored: stored)
        if stored != fresh:
            self.usage.withdraw(demand)
        return stored

    def _settle(self, batch: Batch) -> Counter[str]:
        seen = self.order_sets.read(batch.order_ids)
        if not batch.complete:
            return Counter(created=self._create_missing(batch, seen).created)
        if not seen.unreadable and forgettable(batch, seen.orders, self.clock()):
            return Counter(records_forgotten=int(self.records.take(batch.id) is not None))
        due_at = self.clock() + CHECK_INTERVAL
        self.records.change(batch.id, lambda stored: replace(stored, due_at=due_at))
        return Counter()

    def _create_missing(self, batch: Batch, seen: OrderSet) -> OrderSet:
        """Create the orders that do not exist, and record once all have been created."""
        removed = list[str]()
        now = self.clock()
        done = self.order_sets.create(
            seen,
            seen.missing(batch.order_ids),
            make=lambda order_id: NamedOrder(
                order_of(batch, order_id, now),
                IdempotencyKey(batch.account, request_ids.batch_key(order_id), order_id),
            ),
            removed=removed.append,
        )
        if set(done.missing(batch.order_ids)) <= set(removed):
            with suppress(NotFound, Unavailable):  # the next sweep records it
                self.records.change(
                    batch.id, lambda stored: replace(stored, complete=True, due_at=self.clock() + CHECK_INTERVAL)
                )
        return done
