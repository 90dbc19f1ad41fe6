"""Making a pool what it is to be: its record first, which is the lock, then the orders that the record names.

Whatever stops it in between, the next one goes on from the record. Two at once make one order a place, because both
make it under the id that the record says.
"""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from functions.apis.capacity.wire import CONTROLLER
from functions.app import App
from functions.domain.accounts import NOBODY
from functions.domain.events import Cancel
from functions.domain.order import Order
from functions.domain.pools import (
    IN_FLIGHT,
    Member,
    Pool,
    given_up,
    order_for,
    passed_over,
    plan,
    pool_id,
    stays,
)
from functions.domain.refusals import Conflict, Gone, NotFound, OtherVersion, WrongState
from functions.engine import request_ids
from functions.engine.concurrency import together
from functions.http import logs
from functions.ports import IdempotencyKey, Snapshot
from shared.crash_points import Point, reach
from shared.domain.order import State

SECONDS: Final = 20.0
"""How long one round goes on; the next goes on from there."""
MOST_POOLS: Final = 5000
"""How many pools a sweep chooses from."""


@dataclass(frozen=True, slots=True)
class Round:
    """A pool and its orders, as they were seen last, and how many were created and released."""

    pool: Pool
    orders: Mapping[str, Order]
    unreadable: frozenset[str] = frozenset()
    """Those of its orders that another version wrote: they count as on their way, and are left to that version."""
    created: int = 0
    released: int = 0

    @property
    def staying(self) -> Sequence[Order]:
        """The orders that count, as far as they have been created."""
        return [self.orders[order_id] for order_id in self._staying if order_id in self.orders]

    @property
    def in_flight(self) -> int:
        """How many machines are on their way."""
        running = {order.id for order in self.staying if order.state not in IN_FLIGHT}
        return len([order_id for order_id in self._staying if order_id not in running])

    @property
    def surplus(self) -> int:
        """How many it has too much of, and cannot release: nobody watches over their machines."""
        return max(len(self._staying) - self.pool.min_warm_count, 0) if self.pool.managed else 0

    @property
    def _staying(self) -> Sequence[str]:
        return [member.order_id for member in self.pool.members if stays(member, self.orders)]


def look(pool: Pool, app: App) -> Round:
    ids = [member.order_id for member in pool.members]
    found = app.store.get_many(ids) if ids else {}
    orders = {order_id: seen.order for order_id, seen in found.items() if isinstance(seen, Snapshot)}
    return Round(pool, orders, frozenset(found.keys() - orders.keys()))


def reconcile(pool: Pool, app: App, at_least: int = 0) -> Round:
    """Give every place its order, `at_least` so many, and release what is too much. Raises NotFound, Unavailable."""
    seen = look(pool, app)
    orders = seen.orders
    if plan(pool, orders, at_least) != pool:
        pool = app.capacity.pools.change(pool.id, lambda standing: plan(standing, orders, at_least))
        reach(Point.POOL_RECORDED)
    missing = [member for member in pool.members if member.order_id not in {*orders, *seen.unreadable}]
    made = [order for order in together(partial(_create, pool, app), missing, SECONDS) if order is not None]
    orders = {**orders, **{order.id: order for order in made}}
    given = [member for member in pool.members if _to_release(member, orders)]
    wished = [order for order in together(partial(_release, app), given, SECONDS) if order is not None]
    orders = {**orders, **{order.id: order for order in wished}}
    done = Round(pool, orders, seen.unreadable, len(made), len(wished))
    if done.surplus:
        logs.LOG.warning("A pool has machines too many, and nobody to stop them.", pool=pool.id, surplus=done.surplus)
    return done


def see_to_pools(app: App, now: datetime, limit: int) -> Counter[str]:
    """Reconcile at most `limit` pools, and return how many `pools`, `created` and `released` there were.

    One that fails keeps no other from being seen to. Where there are more, each round begins somewhere else.
    """
    _provide_default(app, now)
    pools = [pool for pool in app.capacity.pools.all(MOST_POOLS) if pool.managed or pool.members]
    first = zlib.crc32(now.isoformat().encode()) % len(pools) if len(pools) > limit else 0
    chosen = [*pools[first:], *pools[:first]][:limit]
    counts = Counter[str]()
    for done in together(partial(_seen_to, app), chosen, SECONDS):
        counts.update(pools=1, created=done.created, released=done.released)
    return counts


def release_all(pool: Pool, app: App, now: datetime) -> Round:
    """Take the pool's target away, and give its machines back. Raises NotFound, Unavailable."""
    return reconcile(app.capacity.pools.change(pool.id, lambda standing: given_up(standing, now)), app)


def _seen_to(app: App, pool: Pool) -> Round:
    try:
        return reconcile(pool, app)
    except NotFound:
        return Round(pool, {})  # removed since


def _create(pool: Pool, app: App, member: Member) -> Order | None:
    """Return the order of this place. One already given up is created too, and cancelled: another may be about to."""
    order = order_for(pool, member, app.clock())
    try:
        created = app.store.create(order, IdempotencyKey(pool.account, request_ids.pool_key(order.id), order.id))
    except Gone:
        app.capacity.pools.change(pool.id, lambda standing: passed_over(standing, order.id))
        return None
    reach(Point.POOL_CREATED)
    if created.order.state is State.QUEUED and not member.released:
        app.orders.ring(created)
    return created.order


def _to_release(member: Member, orders: Mapping[str, Order]) -> bool:
    order = orders.get(member.order_id)
    if order is None or order.final or order.cancel_requested_at is not None:
        return False
    return member.released and order.attended


def _release(app: App, member: Member) -> Order | None:
    try:
        order = app.store.apply(member.order_id, Cancel(request_ids.cancel_by_pool()), app.clock())
    except (WrongState, NotFound, OtherVersion):
        return None  # it has just ended, or another version has it
    reach(Point.POOL_RELEASED)
    return order


def _provide_default(app: App, now: datetime) -> None:
    """Make the contract's default pool where there never was one; it may be changed and removed like any other."""
    default = app.capacity.default_pool
    if default is None:
        return
    id_ = pool_id(NOBODY, default.datacenter, default.node_size)
    try:
        if app.capacity.pools.get(id_) is not None:
            return
    except OtherVersion:
        return  # it is there
    pool = Pool(
        id=id_,
        account=NOBODY,
        datacenter=default.datacenter,
        node_size=default.node_size,
        min_warm_count=default.min_warm_count,
        reason=CONTROLLER,
        created_at=now,
        updated_at=now,
        dispatch=True,
        attestation=app.capacity.attestation,
    )
    try:
        app.capacity.pools.add(id_, pool)
    except Conflict:
        return  # another was faster
