"""Orders in this process's memory, for tests and for a local stack without emulators. They end with the process."""

import itertools
import operator
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from functions.adapters import page_mark
from functions.domain.events import AnyEvent, Claim
from functions.domain.holder import account_of, are_one, means, name_of
from functions.domain.order import Order
from functions.domain.refusals import Conflict, Gone, KeyReused, NotFound, OtherVersion
from functions.domain.rules import advance, require_ended
from functions.ports.orders import (
    MAX_HELD,
    AccountsPage,
    Due,
    IdempotencyKey,
    OrderPage,
    OrderQuery,
    Snapshot,
    UnreadableOrder,
)
from shared.domain.order import State


@dataclass(frozen=True, slots=True)
class _UsedKey:
    """If `at` is None, the sweep does not forget the key."""

    fingerprint: str
    order_id: str
    at: datetime | None


class MemoryOrderStore:
    """Keeps orders in a dictionary, and changes them under one lock. The version counts the changes.

    It is its own feed: who changes an order calls the followers, while it holds the lock.

    Orders whose ids are in `unreadable` are treated as if another version wrote them, for tests.
    """

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._lock = threading.Lock()
        self._orders: dict[str, Snapshot] = {}
        self._keys: dict[tuple[str, str], _UsedKey] = {}
        self._versions = itertools.count(1)
        self._followers: dict[object, Callable[[Snapshot], None]] = {}

    def follow(self, on_order: Callable[[Snapshot], None], on_gap: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 (nothing is missed here)
        following = object()
        with self._lock:
            self._followers[following] = on_order

        def stop() -> None:
            with self._lock:
                self._followers.pop(following, None)

        return stop

    def create(self, order: Order, key: IdempotencyKey) -> Snapshot:
        with self._lock:
            if (before := self._created_with(key)) is not None:
                return before
            if order.id in self._orders:
                raise Conflict(f"There is an order {order.id} already, of another Idempotency-Key.")
            at = None if key.lasting else order.created_at
            self._keys[key.account, key.value] = _UsedKey(key.fingerprint, order.id, at)
            return self._put(order, None)

    def created_with(self, key: IdempotencyKey) -> Snapshot | None:
        with self._lock:
            return self._created_with(key)

    def get(self, order_id: str) -> Order:
        return self.read(order_id).order

    def read(self, order_id: str) -> Snapshot:
        with self._lock:
            return self._find(order_id)

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Snapshot | UnreadableOrder]:
        with self._lock:
            return {
                order_id: UnreadableOrder(order_id) if order_id in self.unreadable else self._orders[order_id]
                for order_id in order_ids
                if order_id in self._orders
            }

    def apply(self, order_id: str, event: AnyEvent, now: datetime, seen: Snapshot | None = None) -> Order:  # noqa: ARG002 (another read costs nothing here)
        with self._lock:
            return self._apply(order_id, event, now)

    def page(self, query: OrderQuery) -> OrderPage:
        in_order = sorted(self._readable(), key=_position, reverse=not query.oldest_first)
        matching = [order for order in in_order if _matches(order, query)]
        if query.after is not None:
            after = page_mark.read(query.after)
            beyond = operator.gt if query.oldest_first else operator.lt
            matching = [order for order in matching if beyond(_position(order), after)]
        page = matching[: query.limit]
        return OrderPage(page, page_mark.mark(page[-1]) if len(matching) > len(page) else None)

    def count(self, query: OrderQuery) -> int:
        return sum(_matches(order, query) for order in self._all())

    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        return sorted(self._waiting(lanes, now), key=lambda snapshot: snapshot.order.available_at)[:limit]

    def claimable_by_account(self, lanes: Collection[str], now: datetime, after: str, limit: int) -> AccountsPage:
        beyond = [snapshot for snapshot in self._waiting(lanes, now) if snapshot.order.account > after]
        page = sorted(beyond, key=lambda snapshot: (snapshot.order.account, snapshot.order.available_at))[:limit]
        return AccountsPage(page, page[-1].order.account if len(page) == limit else None)

    def _waiting(self, lanes: Collection[str], now: datetime) -> list[Snapshot]:
        wanted = set(lanes)
        with self._lock:
            return [
                snapshot
                for snapshot in self._orders.values()
                if snapshot.order.id not in self.unreadable
                and snapshot.order.state is State.QUEUED
                and not wanted.isdisjoint(snapshot.order.lanes)
                and snapshot.order.available_at <= now < snapshot.order.expires_at
            ]

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        with self._lock:
            for snapshot in self._orders.values():
                order = snapshot.order
                holds = order.lease is not None and are_one(order.lease.launcher, claim.launcher)
                if holds and claim.request_id in order.recent and order.id not in self.unreadable:
                    return order
            return self._apply(seen.order.id, claim, now)

    def remembering(self, request_id: str) -> Sequence[Order]:
        return [order for order in self._readable() if request_id in order.recent]

    def held_by(self, launcher: str, to_stop: bool = False) -> Sequence[Order]:
        held = (
            order
            for order in self._readable()
            if order.lease is not None
            and means(launcher, order.lease.launcher)
            and not (to_stop and order.cancel_requested_at is None)
        )
        return list(itertools.islice(held, MAX_HELD))

    def count_held(self, account: str, name: str | None = None) -> int:
        holders = [order.lease.launcher for order in self._all() if order.lease is not None]
        return sum(account_of(holder) == account and name in (None, name_of(holder)) for holder in holders)

    def held_by_account(self, account: str) -> Sequence[Order]:
        held = (
            order
            for order in self._readable()
            if order.lease is not None and account_of(order.lease.launcher) == account
        )
        return list(itertools.islice(held, MAX_HELD))

    def remove(self, order_id: str, key: str | None = None) -> None:
        with self._lock:
            if order_id in self._orders:
                order = self._find(order_id).order
                require_ended(order)
                del self._orders[order_id]
                self._keys.pop((order.account, key or ""), None)

    def forget_keys(self, used_before: datetime, limit: int) -> int:
        with self._lock:
            old = [key for key, used in self._keys.items() if used.at is not None and used.at < used_before][:limit]
            for key in old:
                del self._keys[key]
        return len(old)

    def waiting_since(self, now: datetime) -> datetime | None:
        waiting = (order.available_at for order in self._all() if order.state is State.QUEUED)
        return min((since for since in waiting if since <= now), default=None)

    def due(self, states: Collection[State], now: datetime, limit: int) -> Due:
        with self._lock:
            due = [
                (snapshot.order.due_at, snapshot.order.id, snapshot)
                for snapshot in self._orders.values()
                if snapshot.order.state in states and snapshot.order.due_at is not None and snapshot.order.due_at <= now
            ]
        readable = [row for row in due if row[1] not in self.unreadable]
        orders = [snapshot for _, _, snapshot in sorted(readable, key=lambda row: row[:2])[:limit]]
        return Due(orders, more=len(orders) == limit)

    def _apply(self, order_id: str, event: AnyEvent, now: datetime) -> Order:
        order = self._find(order_id).order
        changed = advance(order, event, now)
        if changed is not order:
            self._put(changed, order)
        return changed

    def _put(self, order: Order, before: Order | None) -> Snapshot:
        snapshot = self._orders[order.id] = Snapshot(order, next(self._versions))
        queued = order.state is State.QUEUED and (before is None or before.state is not State.QUEUED)
        to_stop = before is not None and before.cancel_requested_at is None and order.cancel_requested_at is not None
        if queued or (to_stop and order.lease is not None):
            for on_order in self._followers.values():
                on_order(snapshot)
        return snapshot

    def _created_with(self, key: IdempotencyKey) -> Snapshot | None:
        used = self._keys.get((key.account, key.value))
        if used is None:
            return None
        if used.fingerprint != key.fingerprint:
            raise KeyReused("This Idempotency-Key was used for another order; use a new key for a new order.")
        if used.order_id not in self._orders:
            raise Gone(f"The order {used.order_id} of this Idempotency-Key was removed.")
        return self._find(used.order_id)

    def _find(self, order_id: str) -> Snapshot:
        if order_id not in self._orders:
            raise NotFound("There is no such order.")
        if order_id in self.unreadable:
            raise OtherVersion(f"The order {order_id} was written by another version; send the same request again.")
        return self._orders[order_id]

    def _all(self) -> list[Order]:
        with self._lock:
            return [snapshot.order for snapshot in self._orders.values()]

    def _readable(self) -> list[Order]:
        return [order for order in self._all() if order.id not in self.unreadable]


def _position(order: Order) -> tuple[datetime, str]:
    return order.created_at, order.id


def _matches(order: Order, query: OrderQuery) -> bool:
    return (
        query.account in (None, order.account)
        and (not query.states or order.state in query.states)
        and query.kind in (None, order.kind)
        and (query.lane is None or query.lane in order.lanes)
        and query.session_name in (None, getattr(order.spec, "session_name", None))
    )
