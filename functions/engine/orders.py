"""Creates, lists and requeues orders for clients, and rings the doorbell for new ones."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from functions.domain import request_ids
from functions.domain.events import Ring
from functions.domain.limits import OrderLimits
from functions.domain.order import Order, place
from functions.domain.refusals import Gone, Invalid, NotFound, QuotaExceeded, Unavailable, WrongState
from functions.domain.rules import require_ended
from functions.engine.quotas import Usage, demand_of
from functions.ports.doorbell import Doorbell
from functions.ports.orders import IdempotencyKey, OrderPage, OrderQuery, OrderStore, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import State
from shared.domain.spec import AnySpec, OrderKind
from shared.log_events import LogEvent
from shared.wire.bell import Bell

MAX_DELAY: Final = timedelta(days=30)
"""The latest `not_before`, counted from now."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A client's request for an order. `fingerprint` is that of the whole request.

    `order_id` is that of a contract whose ids have a form of their own; None: any. No quota limits what an operator
    asks for.
    """

    account: str
    spec: AnySpec
    limits: OrderLimits
    not_before: datetime | None
    idempotency_key: str
    fingerprint: str
    order_id: str | None = None
    by_operator: bool = False


def fingerprint(request: str) -> str:
    """Return the SHA-256 of a request, given as JSON text.

    It is stored with the idempotency key: the same key with another request is refused.
    """
    return hashlib.sha256(request.encode()).hexdigest()


def _nothing(_order: Order, _now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Orders:
    """`owner` is the caller's account, or None for an operator, who may reach every account's orders.

    `before_session` is called before a session's order is stored; if it raises, the order is not created.
    """

    store: OrderStore
    doorbell: Doorbell
    usage: Usage
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    before_session: Callable[[Order, datetime], object] = _nothing

    def create(self, new: NewOrder) -> Order:
        """Store a new order and ring for it. A repeat of the same request returns the same order.

        Raises Invalid, QuotaExceeded, KeyReused, Gone, Unavailable.
        """
        now = self.clock()
        if new.not_before is not None and new.not_before > now + MAX_DELAY:
            raise Invalid("Some fields of the body are wrong.", {"not_before": "At most 30 days from now"})
        order = place(new.order_id or self.new_id(), new.account, new.spec, now, new.limits, new.not_before)
        key = IdempotencyKey(new.account, new.idempotency_key, new.fingerprint)
        created = self._store(order, key, new.by_operator)
        reach(Point.CREATE_STORED)
        if created.order.id == order.id:
            self.ring(created)
        return created.order

    def ring(self, seen: Snapshot) -> None:
        """Publish the bell of an order that may be claimed, and record that. If this fails, the sweep rings again."""
        order, now = seen.order, self.clock()
        if order.available_at > now:
            return
        try:
            self.doorbell.ring(Bell(order.id, order.lane))
            reach(Point.CREATE_RUNG)
            self.store.apply(order.id, Ring(self.new_id()), now, seen)
            reach(Point.CREATE_RECORDED)
        except (WrongState, NotFound):
            return  # a launcher was faster, or the client has cancelled and purged the order
        except Unavailable as refusal:
            message = "The order is stored, but its bell could not be recorded; the sweep rings again."
            log.warning(LogEvent.BELL_NOT_RECORDED, message=message, order_id=order.id, why=refusal.message)

    def require_owned(self, order_id: str, owner: str | None) -> Snapshot:
        """Return the order as it is now. Raises NotFound, also if the order belongs to another account."""
        return require_owned(self.store, order_id, owner)

    def page(self, query: OrderQuery) -> OrderPage:
        """Return a page of orders. Raises Invalid if `after` is not a page mark of this API."""
        return self.store.page(query)

    def count(self, query: OrderQuery) -> int:
        """Return the number of orders on all of the query's pages, up to 100,000."""
        return self.store.count(query)

    def requeue(self, order_id: str, owner: str | None) -> Order:
        """Create one successor for an order that ended without success. A repeat returns the same successor.

        Raises NotFound, WrongState, QuotaExceeded, Conflict if no launcher runs such orders, Gone if the successor was
        removed.
        """
        ended = self.require_owned(order_id, owner).order
        require_ended(ended)
        if ended.state is State.SUCCEEDED:
            raise WrongState("The order succeeded; to run its work again, place a new one.", state=ended.state)
        new_id = request_ids.requeued_order(ended.id)
        with suppress(NotFound):
            return self.store.get(new_id)
        order = place(new_id, ended.account, ended.spec, self.clock(), ended.limits, requeued_from=ended.id)
        key = IdempotencyKey(ended.account, request_ids.requeue_key(ended.id), new_id, lasting=True)
        try:
            created = self._store(order, key, by_operator=owner is None)
        except Gone:
            raise Gone(f"Its successor, the order {new_id}, was removed; place a new order.") from None
        reach(Point.REQUEUE_STORED)
        self.ring(created)
        return created.order

    def _store(self, order: Order, key: IdempotencyKey, by_operator: bool) -> Snapshot:
        """Store a new order within its account's quotas, and return it; or the order of the key's first use."""
        demand = demand_of(order)
        if not by_operator:
            try:
                self.usage.admit(demand)
            except QuotaExceeded:
                if (before := self.store.created_with(key)) is None:
                    raise
                return before  # a repeat asks for nothing new
        if order.kind is OrderKind.SESSION:
            self.before_session(order, order.created_at)
        created = self.store.create(order, key)
        first_use = (created.order.id, created.order.created_at)  # two requests may derive the same id
        if not by_operator and first_use != (order.id, order.created_at):
            self.usage.withdraw(demand)
        return created


def require_owned(store: OrderStore, order_id: str, owner: str | None) -> Snapshot:
    """Return the order as it is now. Raises NotFound, also if the order belongs to another account."""
    seen = store.read(order_id)
    if owner is not None and seen.order.account != owner:
        raise NotFound("There is no such order.")
    return seen
