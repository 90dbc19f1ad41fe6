"""For operators: how many machines of a size a datacenter is to have, and seeing to it at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from functions.apis.capacity.dialect import ADMINS
from functions.apis.capacity.orders import WRONG_SIZE
from functions.apis.capacity.reconciliation import MOST_POOLS, SECONDS, Round, look, reconcile, release_all
from functions.apis.capacity.tallies import Dispatch, Tally, Target, account_id, agents_of, demands_of
from functions.apis.capacity.wire import CONTROLLER, Answer, Lenient, Short, Why, size_of
from functions.app import App
from functions.domain.accounts import NOBODY
from functions.domain.eligibility import Demands
from functions.domain.pools import MOST_MACHINES, Pool, pool_id, revised
from functions.domain.refusals import Invalid, NotFound, Unavailable
from functions.engine.concurrency import together
from functions.http.routing import Route
from shared.domain.datacenters import parse
from shared.domain.spec import Attestation, NodeSize

MOST_TARGETS: Final = 100
"""Of one reconciliation."""
NO_TARGET: Final = "Capacity pool target not found"


class TargetBody(Lenient):
    """`attestation`, what its orders demand, is ours."""

    datacenter: Short
    node_size: Short
    min_warm_count: Annotated[int, Field(ge=0, le=MOST_MACHINES)] = 0
    enabled: bool = True
    require_verified: bool = True
    require_healthy: bool = True
    require_hostname: bool = True
    dispatch: bool = False
    reason: Why = CONTROLLER
    attestation: Attestation | None = None


class TargetNamed(Lenient):
    """`account_id`, where it is not the operator's own, is ours."""

    datacenter: Short
    node_size: Short
    account_id: Short = NOBODY


class TargetList(Answer):
    targets: tuple[Target, ...]
    total: int


class TargetRemoved(Answer):
    """`released`: how many orders were wished gone; `remaining`: how many machines nobody can stop."""

    status: Literal["deleted"] = "deleted"
    account_id: str | None
    datacenter: str
    node_size: str
    released: int
    remaining: int


class Wanted(Lenient):
    datacenter: Short
    node_size: Short
    min_count: Annotated[int, Field(ge=0, le=MOST_MACHINES)]


class ReconcileBody(Lenient):
    """No `targets`: all that stand. What `require_*` leaves open is as a target has it, or true."""

    targets: Annotated[tuple[Wanted, ...], Field(max_length=MOST_TARGETS)] = ()
    dispatch: bool = False
    require_verified: bool | None = None
    require_healthy: bool | None = None
    reason: Why = CONTROLLER


class Reconciled(Answer):
    """`eligible`: nothing is missing."""

    eligible: bool
    total_shortfall: int
    targets: tuple[Tally, ...]
    dispatches: tuple[Dispatch, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """A pool, stored or not, how many machines it is to have, and which of them count."""

    pool: Pool
    count: int
    demands: Demands


def put(body: TargetBody, app: App) -> Target:
    said = body.model_dump(exclude={"datacenter", "node_size", "attestation"})
    attestation = body.attestation or app.capacity.attestation
    pool = set_target(NOBODY, place_of(body.datacenter, body.node_size), app, **said, attestation=attestation)
    seen = look(pool, app)
    return Target.of(seen, agents_of([seen], app), app.clock())


def browse(app: App) -> TargetList:
    rounds = _each(partial(look, app=app), _standing(app))
    agents, now = agents_of(rounds, app), app.clock()
    targets = tuple(Target.of(seen, agents, now) for seen in rounds)
    return TargetList(targets=targets, total=len(targets))


def remove(query: TargetNamed, app: App) -> TargetRemoved:
    """Take a target away, or what was filled without one, and give its machines back."""
    id_ = pool_id(query.account_id, *place_of(query.datacenter, query.node_size))
    pool = app.capacity.pools.get(id_)
    if pool is None or not (pool.standing or any(not member.released for member in pool.members)):
        raise NotFound(NO_TARGET)
    done = release_all(pool, app, app.clock())
    return TargetRemoved(
        account_id=account_id(pool),
        datacenter=pool.datacenter,
        node_size=pool.node_size,
        released=done.released,
        remaining=len(done.staying),
    )


def reconcile_all(body: ReconcileBody, app: App) -> Reconciled:
    wishes = [_wish(wanted, body, app) for wanted in body.targets] or [_stored(pool, body) for pool in _due(app)]
    do: Callable[[Wish], Round] = partial(_filled, app=app) if body.dispatch else lambda wish: look(wish.pool, app)
    return told(list(zip(wishes, _each(do, wishes), strict=True)), body.dispatch, app)


def told(seen: Sequence[tuple[Wish, Round]], dispatched: bool, app: App) -> Reconciled:
    """Return what pools have and lack, and, where it was `dispatched`, what is under way."""
    agents, now = agents_of([done for _, done in seen], app), app.clock()
    tallies = [Tally.of(done, wish.count, wish.demands, agents, now) for wish, done in seen]
    return Reconciled(
        eligible=not any(tally.shortfall for tally in tallies),
        total_shortfall=sum(tally.shortfall for tally in tallies),
        targets=tuple(tallies),
        dispatches=tuple(Dispatch.of(tally) for tally in tallies if dispatched and tally.shortfall),
    )


def set_target(account: str, where: tuple[str, NodeSize], app: App, **fields: Any) -> Pool:
    """Return the account's pool of this place, stored with these fields as its target."""
    now = app.clock()
    fresh = replace(_unstored(account, where, app), **fields, standing=True)
    return app.capacity.pools.upsert(fresh.id, fresh, lambda pool: revised(pool, now, **fields, standing=True))


def place_of(datacenter: str, node_size: str) -> tuple[str, NodeSize]:
    """Return both as they are kept. Raises Invalid: an order of no size would always fail."""
    try:
        where = parse(datacenter)
    except ValueError as error:
        raise Invalid(str(error)) from None
    try:
        return where, NodeSize(size_of(node_size) or "")
    except ValueError:
        raise Invalid(WRONG_SIZE) from None


def _wish(wanted: Wanted, body: ReconcileBody, app: App) -> Wish:
    where = place_of(wanted.datacenter, wanted.node_size)
    pool = app.capacity.pools.get(pool_id(NOBODY, *where)) or _unstored(NOBODY, where, app)
    pool = pool if pool.standing else replace(pool, reason=body.reason)
    return Wish(pool, wanted.min_count, _demands(body, Demands()))


def _stored(pool: Pool, body: ReconcileBody) -> Wish:
    return Wish(pool, pool.min_warm_count, _demands(body, demands_of(pool)))


def _demands(body: ReconcileBody, otherwise: Demands) -> Demands:
    said = {
        "verified": body.require_verified,
        "healthy": body.require_healthy,
    }
    return replace(otherwise, **{name: value for name, value in said.items() if value is not None})


def _filled(wish: Wish, app: App) -> Round:
    """A pool that is no target is kept for what it is filled with, and is none then either."""
    pool = wish.pool if wish.pool.standing else _noted(wish.pool, app)
    return reconcile(pool, app, wish.count)


def _noted(pool: Pool, app: App) -> Pool:
    now = app.clock()

    def noted(kept: Pool) -> Pool:
        return kept if kept.standing else revised(kept, now, reason=pool.reason)

    return app.capacity.pools.upsert(pool.id, pool, noted)


def _unstored(account: str, where: tuple[str, NodeSize], app: App) -> Pool:
    """Return a pool that is no target, and that nobody has heard of yet."""
    now, (datacenter, node_size) = app.clock(), where
    return Pool(
        id=pool_id(account, *where),
        account=account,
        datacenter=datacenter,
        node_size=node_size,
        min_warm_count=0,
        reason=CONTROLLER,
        created_at=now,
        updated_at=now,
        enabled=False,
        attestation=app.capacity.attestation,
        standing=False,
    )


def _standing(app: App) -> list[Pool]:
    pools = (pool for pool in app.capacity.pools.all(MOST_POOLS) if pool.standing)
    return sorted(pools, key=lambda pool: (pool.datacenter, pool.node_size, pool.account))


def _due(app: App) -> list[Pool]:
    return [pool for pool in _standing(app) if pool.enabled]


def _each(look_at: Callable[[Any], Round], items: Sequence[Any]) -> list[Round]:
    """Return what was seen of each. Raises Unavailable where one is missing: the answer would be about fewer."""
    rounds = together(look_at, items, SECONDS)
    if len(rounds) < len(items):
        raise Unavailable("Not all pools could be seen to; send the same request again.")
    return rounds


ROUTES: Final = (
    Route(
        "PUT",
        "/api/v1/admin/agents/capacity/targets",
        ADMINS,
        put,
        "Set a pool's target",
    ),
    Route("GET", "/api/v1/admin/agents/capacity/targets", ADMINS, browse, "List the pools' targets"),
    Route(
        "DELETE",
        "/api/v1/admin/agents/capacity/targets",
        ADMINS,
        remove,
        "Remove a pool's target",
    ),
    Route(
        "POST",
        "/api/v1/admin/agents/capacity/reconcile",
        ADMINS,
        reconcile_all,
        "See what pools lack, and order it",
        max_bytes=512 * 1024,
    ),
)
