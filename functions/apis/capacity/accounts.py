"""Accounts: read, given another key, deleted, by their own key or an operator; listed by operators."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from functions.apis.capacity import api_keys
from functions.apis.capacity.account_views import AccountView
from functions.apis.capacity.dialect import ACCOUNTS, ADMINS
from functions.apis.capacity.reconciliation import release_all
from functions.apis.capacity.signup import Name
from functions.apis.capacity.wire import Short
from functions.app import App
from functions.domain.access import Role, digest
from functions.domain.accounts import Account
from functions.domain.pools import Pool
from functions.domain.refusals import Forbidden, Malformed, NotFound
from functions.http.authentication import Principal
from functions.http.paging import fitting
from functions.http.routing import Route

OWNERS: Final = ACCOUNTS | ADMINS
"""An account's own key; an operator's too, since a key that was lost, or leaked, must not stand for ever."""
MISSING: Final = "Account not found"
MOST_LISTED: Final = 10_000
MOST_POOLS: Final = 1_000


class AccountFilter(BaseModel):
    """The query of `GET /api/v1/accounts`: `name` is any part of it, in whatever case."""

    model_config = ConfigDict(frozen=True)

    name: Name = ""
    account_type: Short = ""

    def takes(self, account: Account) -> bool:
        named = self.name.strip().casefold() in account.name.casefold()
        return named and self.account_type.strip().lower() in ("", account.account_type)


class AccountList(BaseModel):
    """The accounts that fit into one answer; `total` counts all."""

    accounts: tuple[AccountView, ...]
    total: int


class RotatedKey(BaseModel):
    """The only answer that has the new key."""

    account_id: str
    api_key: str
    rotated_at: datetime
    warning: str = api_keys.WARNING


class Deleted(BaseModel):
    status: Literal["deleted"] = "deleted"
    account_id: str


def read(caller: Principal, app: App, account_id: str) -> AccountView:
    return AccountView.model_validate(own(account_id, caller, app, "view"))


def browse(query: AccountFilter, app: App) -> AccountList:
    """Oldest first."""
    found = [account for account in app.capacity.accounts.all(MOST_LISTED) if query.takes(account)]
    found.sort(key=lambda account: (account.created_at, account.id))
    return AccountList(accounts=fitting(AccountView.model_validate(account) for account in found), total=len(found))


def rotate(caller: Principal, app: App, account_id: str) -> RotatedKey:
    """The new key is there before the account has it, and the old one is gone before the answer."""
    account = own(account_id, caller, app, "rotate API keys for")
    key = api_keys.new_key(app)
    api_keys.withdraw(account.retired, app)
    api_keys.admit(digest(key), account, app)
    rekeyed = _rekey(account, digest(key), app)
    api_keys.withdraw(rekeyed.retired, app)
    return RotatedKey(account_id=account.id, api_key=key, rotated_at=app.clock())


def delete(caller: Principal, app: App, account_id: str) -> Deleted:
    """The keys first: what comes of a crash is an account without a key, never a key without an account."""
    account = own(account_id, caller, app, "delete")
    if account.balance:
        raise Malformed(f"Cannot delete an account whose balance is not zero: it is {account.balance:.2f} USD")
    _pools(account, app)  # first: one that cannot be read could not be given up, and the caller is to ask again
    api_keys.withdraw([account.key_digest, *account.retired], app)
    _give_up_pools(account, app)
    gone = app.capacity.accounts.take(account.name, lambda standing: standing.id == account.id)
    if gone is not None:  # it may have been given another key since it was read
        api_keys.withdraw([gone.key_digest, *gone.retired], app)
    _give_up_pools(account, app)  # a purchase may have been under way; from now on each finds that the account is gone
    return Deleted(account_id=account.id)


def own(account_id: str, caller: Principal, app: App, doing: str) -> Account:
    """Return the account that is the caller's. Raises Forbidden, NotFound."""
    if caller.role is not Role.ADMIN and caller.account != account_id:
        raise Forbidden(f"Cannot {doing} other accounts")
    return account_of(account_id, app)


def account_of(account_id: str, app: App) -> Account:
    """Raises NotFound, and Unavailable if another version wrote it."""
    for account in app.capacity.accounts.find_every("id", account_id, 1):
        return account
    raise NotFound(MISSING)


def _give_up_pools(account: Account, app: App) -> None:
    for pool in _pools(account, app):
        if pool.standing:
            release_all(pool, app, app.clock())


def _pools(account: Account, app: App) -> Sequence[Pool]:
    """Raises Unavailable if another version wrote one of them."""
    return app.capacity.pools.find_every("account", account.id, MOST_POOLS)


def _rekey(account: Account, key_digest: str, app: App) -> Account:
    """Make the key the account's, and note the one that it was until now as retired. Raises NotFound."""

    def rekeyed(standing: Account) -> Account:
        if standing.id != account.id:  # it was deleted, and another has its name
            raise NotFound(MISSING)
        if key_digest in (standing.key_digest, *standing.retired):  # done before: that answer was lost
            return standing
        retired = [one for one in standing.retired if one not in account.retired]
        return replace(standing, key_digest=key_digest, retired=(*retired, standing.key_digest))

    try:
        return app.capacity.accounts.change(account.name, rekeyed)
    except NotFound:
        api_keys.withdraw([key_digest], app)
        raise NotFound(MISSING) from None


ROUTES: Final = (
    Route("GET", "/api/v1/accounts", ADMINS, browse, "List accounts, oldest first"),
    Route(
        "GET",
        "/api/v1/accounts/{account_id}",
        OWNERS,
        read,
        "Read an account",
        missing=MISSING,
    ),
    Route(
        "POST",
        "/api/v1/accounts/{account_id}/api-key/rotate",
        OWNERS,
        rotate,
        "Give an account another key",
        missing=MISSING,
    ),
    Route(
        "DELETE",
        "/api/v1/accounts/{account_id}",
        OWNERS,
        delete,
        "Delete an account",
        missing=MISSING,
    ),
)
