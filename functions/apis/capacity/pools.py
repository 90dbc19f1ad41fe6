"""For operators: pool targets and their reconciliation. For deployers: purchases.

A purchase sets a target for the account's own pool, for a number of months. Purchases are not charged yet.
"""

from dataclasses import replace
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field

from functions.apis.capacity.accounts import BALANCE
from functions.apis.capacity.dialect import ADMINS
from functions.apis.capacity.pool_views import PoolTarget, Reconciled
from functions.apis.capacity.wire import CONTROLLER, CapacityAnswer, Lenient, Short, Why, account_id, parse_pool
from functions.domain.access import Role
from functions.domain.accounts import NOBODY
from functions.domain.eligibility import Demands
from functions.domain.pools import MAX_MACHINES, MONTHLY_USD
from functions.domain.refusals import Forbidden, NotFound
from functions.engine.accounts import NO_ACCOUNT, Accounts
from functions.engine.pool_status import Goal
from functions.engine.pools import Pools
from functions.http.authentication import Principal
from functions.http.routing import Route
from functions.ports.clock import NewId
from shared.domain.spec import Attestation, NodeSize

MAX_TARGETS: Final = 100
"""The limit of one reconciliation."""
MAX_MONTHS: Final = 120
DEPLOYERS: Final = frozenset({Role.CLIENT})


class TargetBody(Lenient):
    """`attestation`, an addition to the contract, is the demand of the pool's orders.

    `require_hostname` is stored and shown but has no effect, because machines have no host names.
    """

    datacenter: Short
    node_size: Short
    min_warm_count: Annotated[int, Field(ge=0, le=MAX_MACHINES)] = 0
    enabled: bool = True
    require_verified: bool = True
    require_healthy: bool = True
    require_hostname: bool = True
    dispatch: bool = False
    reason: Why = CONTROLLER
    attestation: Attestation | None = None


class TargetQuery(Lenient):
    """`account_id`, an addition to the contract, selects an account's target instead of the operator's own."""

    datacenter: Short
    node_size: Short
    account_id: Short = NOBODY


class TargetList(CapacityAnswer):
    targets: tuple[PoolTarget, ...]
    total: int


class TargetRemoved(CapacityAnswer):
    """`released` counts cancelled orders, `remaining` the machines that cannot be stopped."""

    status: Literal["deleted"] = "deleted"
    account_id: str | None
    datacenter: str
    node_size: str
    released: int
    remaining: int


class GoalBody(Lenient):
    datacenter: Short
    node_size: Short
    min_count: Annotated[int, Field(ge=0, le=MAX_MACHINES)]


class ReconcileBody(Lenient):
    """Without `targets`, all enabled targets. If a `require_…` is left out, the target's own applies, or else true."""

    targets: Annotated[tuple[GoalBody, ...], Field(max_length=MAX_TARGETS)] = ()
    dispatch: bool = False
    require_verified: bool | None = None
    require_healthy: bool | None = None
    reason: Why = CONTROLLER

    def demands(self, default: Demands) -> Demands:
        """Return the body's demands; `default` supplies those that it leaves out."""
        given = {"verified": self.require_verified, "healthy": self.require_healthy}
        return replace(default, **{name: value for name, value in given.items() if value is not None})


class PurchaseBody(Lenient):
    datacenter: Short
    node_size: Short = NodeSize.TINY.value
    min_warm_count: Annotated[int, Field(ge=1, le=MAX_MACHINES)] = 1
    months: Annotated[int, Field(ge=1, le=MAX_MONTHS)] = 1
    reason: Why = "capacity-purchase"


class Purchase(CapacityAnswer):
    """The charge is simulated: the balance does not change."""

    request_id: str
    charged_amount_usd: float
    transaction_id: str
    balance_after: float
    target: PoolTarget
    capacity: Reconciled


def set_target(body: TargetBody, pools: Pools) -> PoolTarget:
    """Set the target of an operator's pool. The next sweep or reconciliation fills the pool."""
    datacenter, node_size = parse_pool(body.datacenter, body.node_size)
    fields = body.model_dump(exclude={"datacenter", "node_size", "attestation"})
    if body.attestation is not None:
        fields["attestation"] = body.attestation
    pool = pools.set_target(NOBODY, datacenter, node_size, **fields)
    return PoolTarget.of(pools.status([Goal.of(pool)])[0])


def list_targets(pools: Pools) -> TargetList:
    targets = tuple(PoolTarget.of(status) for status in pools.status([Goal.of(pool) for pool in pools.targets()]))
    return TargetList(targets=targets, total=len(targets))


def remove_target(query: TargetQuery, pools: Pools) -> TargetRemoved:
    """Remove a pool's target, if it has one, and release its machines."""
    datacenter, node_size = parse_pool(query.datacenter, query.node_size)
    status = pools.remove_target(query.account_id, datacenter, node_size)
    return TargetRemoved(
        account_id=account_id(status.pool.account),
        datacenter=datacenter,
        node_size=node_size,
        released=status.orders.released,
        remaining=len(status.counted),
    )


def reconcile(body: ReconcileBody, pools: Pools) -> Reconciled:
    """Return each pool's machines and shortfall. If `dispatch` is true, order the missing machines."""
    if body.targets:
        goals = [
            Goal(
                pools.operators_pool(*parse_pool(one.datacenter, one.node_size), body.reason),
                one.min_count,
                body.demands(Demands()),
            )
            for one in body.targets
        ]
    else:
        targets = [Goal.of(pool) for pool in pools.targets() if pool.enabled]
        goals = [replace(goal, demands=body.demands(goal.demands)) for goal in targets]
    return Reconciled.of(pools.fill(goals) if body.dispatch else pools.status(goals), body.dispatch)


def purchase(
    body: PurchaseBody, deployer: Principal, accounts: Accounts, pools: Pools, new_id: NewId, account_id: str
) -> Purchase:
    """Set the account's target, and order the missing machines. A repeat sets the same target."""
    if deployer.account != account_id:
        raise Forbidden("Cannot request capacity for other accounts")
    datacenter, node_size = parse_pool(body.datacenter, body.node_size)
    accounts.get(account_id)
    pools.admit(account_id, datacenter, node_size, body.min_warm_count)
    pool = pools.set_target(
        account_id, datacenter, node_size, min_warm_count=body.min_warm_count, reason=body.reason, dispatch=True
    )
    try:
        accounts.get(account_id)
    except NotFound:  # the account was deleted at the same time, and nothing else would give up its pool
        pools.give_up(pool)
        raise
    status = pools.fill_target(pool)
    return Purchase(
        request_id=f"capacity-{UUID(new_id()).hex[:16]}",
        charged_amount_usd=MONTHLY_USD[NodeSize(node_size)] * body.min_warm_count * body.months,
        transaction_id=f"sim-{new_id()}",
        balance_after=BALANCE,
        target=PoolTarget.of(status),
        capacity=Reconciled.of([status], dispatched=True),
    )


TARGETS: Final = "/api/v1/admin/agents/capacity/targets"

ROUTES: Final = (
    Route("PUT", TARGETS, ADMINS, set_target, "Set a pool's target"),
    Route("GET", TARGETS, ADMINS, list_targets, "List the pools' targets"),
    Route("DELETE", TARGETS, ADMINS, remove_target, "Remove a pool's target"),
    Route(
        "POST",
        "/api/v1/admin/agents/capacity/reconcile",
        ADMINS,
        reconcile,
        "Compare pools with their targets, and order missing machines",
        max_bytes=512 * 1024,
    ),
    Route(
        "POST",
        "/api/v1/accounts/{account_id}/capacity/request",
        DEPLOYERS,
        purchase,
        "Purchase capacity",
        missing=NO_ACCOUNT,
    ),
)
