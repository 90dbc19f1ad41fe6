"""For deployers: so many machines of a size in a datacenter, for so many months. What they cost is not taken yet."""

from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from functions.apis.capacity.pools import Reconciled, Wish, place_of, set_target, told
from functions.apis.capacity.reconciliation import reconcile, release_all
from functions.apis.capacity.tallies import Target, agents_of, demands_of
from functions.apis.capacity.wire import Answer, Lenient, Short, Why
from functions.app import App
from functions.domain.access import Role
from functions.domain.pools import MONTHLY_USD, MOST_MACHINES, Pool, pool_id
from functions.domain.refusals import Forbidden, Invalid, NotFound
from functions.http.authentication import Principal
from functions.http.routing import Route
from shared.domain.spec import NodeSize

PURCHASE: Final = "capacity-purchase"
LONGEST: Final = 120
"""Months."""
MOST_POOLS: Final = 100
"""Of one account."""
NO_ACCOUNT: Final = "Account not found"
DEPLOYERS: Final = frozenset({Role.CLIENT})


class PurchaseBody(Lenient):
    datacenter: Short
    node_size: Short = NodeSize.TINY.value
    min_warm_count: Annotated[int, Field(ge=1, le=MOST_MACHINES)] = 1
    months: Annotated[int, Field(ge=1, le=LONGEST)] = 1
    reason: Why = PURCHASE


class Purchase(Answer):
    """The charge is simulated: the balance stays as it was."""

    request_id: str
    charged_amount_usd: float
    transaction_id: str
    balance_after: float
    target: Target
    capacity: Reconciled


def buy(body: PurchaseBody, deployer: Principal, app: App, account_id: str) -> Purchase:
    """Set the account's target, and order what is missing. The same request twice sets the same target."""
    if deployer.account != account_id:
        raise Forbidden("Cannot request capacity for other accounts")
    where, balance = place_of(body.datacenter, body.node_size), _balance(account_id, app)
    _require_room(account_id, pool_id(account_id, *where), app)
    pool = set_target(
        account_id,
        where,
        app,
        min_warm_count=body.min_warm_count,
        reason=body.reason,
        enabled=True,
        dispatch=True,
        attestation=app.capacity.attestation,
    )
    _require_account(account_id, pool, app)
    done = reconcile(pool, app)
    return Purchase(
        request_id=f"capacity-{UUID(app.new_id()).hex[:16]}",
        charged_amount_usd=MONTHLY_USD[where[1]] * body.min_warm_count * body.months,
        transaction_id=f"sim-{app.new_id()}",
        balance_after=balance,
        target=Target.of(done, agents_of([done], app), app.clock()),
        capacity=told([(Wish(pool, pool.min_warm_count, demands_of(pool)), done)], True, app),
    )


def _balance(account_id: str, app: App) -> float:
    for account in app.capacity.accounts.find_every("id", account_id, 1):
        return account.balance
    raise NotFound(NO_ACCOUNT)


def _require_account(account_id: str, pool: Pool, app: App) -> None:
    """Raises NotFound where the account was deleted meanwhile: then nobody else would give up its pool."""
    try:
        _balance(account_id, app)
    except NotFound:
        release_all(pool, app, app.clock())
        raise


def _require_room(account_id: str, pool: str, app: App) -> None:
    pools = app.capacity.pools.find("account", account_id, MOST_POOLS)
    if len(pools) >= MOST_POOLS and pool not in {one.id for one in pools}:
        raise Invalid(f"An account may ask for capacity in at most {MOST_POOLS} places, each of one size")


ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/accounts/{account_id}/capacity/request",
        DEPLOYERS,
        buy,
        "Buy capacity",
        missing=NO_ACCOUNT,
    ),
)
