"""The contract's accounts: create one, with a key or an enrolment token; get, rekey and delete one; list them all.

Times are in UTC, balances in USD. Accounts are not charged yet: every balance is zero.
"""

from datetime import datetime
from operator import not_
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, StringConstraints
from structlog.contextvars import bind_contextvars

from functions.apis.capacity.dialect import ACCOUNTS, ADMINS, NO_HEADER, require_admin
from functions.apis.capacity.operators import ENROLMENT_TOKEN, account_type_of
from functions.apis.capacity.settings import CapacitySettings
from functions.apis.capacity.wire import Short
from functions.domain.access import Role, digest
from functions.domain.accounts import PRIVILEGED, Account, AccountType, Enrolment, scope
from functions.domain.refusals import Forbidden, Malformed, Unauthenticated
from functions.engine.accounts import NO_ACCOUNT, Accounts
from functions.engine.enrolments import Enrolments, UnusableEnrolment
from functions.engine.operator_sessions import SESSION_TOKEN, Sessions
from functions.http.authentication import Anyone, Bearer, Open, Principal
from functions.http.paging import fitting
from functions.http.routing import Route
from functions.http.validation import Unprocessable
from functions.ports import KeyStore

OWNERS: Final = ACCOUNTS | ADMINS
"""An account's own key, or an operator's: an operator can replace a key that was lost or leaked."""
KEY_PREFIX: Final = "ee_live_"
BALANCE: Final = 0.0
NEXT_STEP: Final = (
    "To create a {type} account, send an admin's key or session, or have an operator issue an enrolment token: "
    "POST /api/v1/admin/enrolments"
)
NO_DATACENTERS: Final = {
    "type": "value_error",
    "loc": ["body", "datacenters"],
    "msg": "Only a launcher account is held to datacenters",
}

Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^\P{Cc}*$")]
Scope = Annotated[Short, AfterValidator(scope)]
"""`gcp` or `gcp:us-central1-a`."""


class NewAccount(BaseModel):
    """`POST /api/v1/accounts`. `datacenters`, an addition to the contract, limits where a launcher may claim."""

    model_config = ConfigDict(frozen=True)

    name: Name
    account_type: Short
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    datacenters: Annotated[tuple[Scope, ...], Field(max_length=50)] = ()


class AccountFields(BaseModel):
    """The fields of an account that every answer has."""

    model_config = ConfigDict(from_attributes=True)

    account_id: Annotated[str, Field(validation_alias=AliasChoices("account_id", "id"))]
    name: str
    description: str
    account_type: AccountType
    balance: float = BALANCE
    created_at: datetime


class AccountView(AccountFields):
    """`datacenters`, an addition to the contract, is left out if a launcher may claim for all."""

    github_login: None = None
    github_org: None = None
    datacenters: Annotated[tuple[str, ...], Field(exclude_if=not_)]


class KeyAnswer(BaseModel):
    """The only answers that contain the key."""

    api_key: str
    warning: str = "Store this API key now: it is not shown again. Whoever has it acts as this account."


class CreatedAccount(AccountFields, KeyAnswer):
    """The new account."""


class RotatedKey(KeyAnswer):
    account_id: str
    rotated_at: datetime


class Deleted(BaseModel):
    status: Literal["deleted"] = "deleted"
    account_id: str


class AccountFilter(BaseModel):
    """The query of `GET /api/v1/accounts`: `name` matches any part of the name, in any case."""

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


def create_account(
    body: NewAccount,
    caller: Bearer | Anyone,
    accounts: Accounts,
    enrolments: Enrolments,
    keys: KeyStore,
    sessions: Sessions,
    settings: CapacitySettings,
) -> CreatedAccount:
    """Anyone may create an account that is not privileged. A privileged one needs an operator or an enrolment."""
    kind = account_type_of(body.account_type)
    if body.datacenters and kind is not AccountType.LAUNCHER:
        raise Unprocessable([NO_DATACENTERS])
    if not body.name:
        raise Malformed("Account name is required")
    enrolment: Enrolment | None = None
    try:
        if kind in PRIVILEGED and not settings.open_signup:
            if isinstance(caller, Anyone):
                raise Unauthenticated(NO_HEADER)
            if caller.token.startswith(ENROLMENT_TOKEN):
                enrolment = enrolments.require(caller.token, kind)
            elif caller.token.startswith(SESSION_TOKEN):
                require_admin(caller.token, keys, sessions)
            elif (key := keys.find(digest(caller.token))) is None or key.role is not Role.ADMIN:
                raise Forbidden(NEXT_STEP.format(type=kind))
        account, api_key = accounts.create(
            body.name, kind, body.description, body.datacenters, enrolment, key_prefix=KEY_PREFIX
        )
    except UnusableEnrolment as refusal:
        raise Forbidden(f"{refusal.message} {NEXT_STEP.format(type=kind)}") from None
    bind_contextvars(account=account.id)
    return CreatedAccount(**AccountFields.model_validate(account).model_dump(), api_key=api_key)


def get_account(caller: Principal, accounts: Accounts, account_id: str) -> AccountView:
    return AccountView.model_validate(_require_owned(account_id, caller, accounts, "view"))


def list_accounts(query: AccountFilter, accounts: Accounts) -> AccountList:
    found = accounts.list_accounts(query.takes)
    return AccountList(accounts=fitting(AccountView.model_validate(account) for account in found), total=len(found))


def rotate_key(caller: Principal, accounts: Accounts, account_id: str) -> RotatedKey:
    account = _require_owned(account_id, caller, accounts, "rotate API keys for")
    api_key, rotated_at = accounts.rotate_key(account, KEY_PREFIX)
    return RotatedKey(account_id=account.id, api_key=api_key, rotated_at=rotated_at)


def delete_account(caller: Principal, accounts: Accounts, account_id: str) -> Deleted:
    account = _require_owned(account_id, caller, accounts, "delete")
    accounts.delete(account)
    return Deleted(account_id=account.id)


def _require_owned(account_id: str, caller: Principal, accounts: Accounts, action: str) -> Account:
    """Return the account if it is the caller's, or if the caller is an operator. Raises Forbidden, NotFound."""
    if caller.role is not Role.ADMIN and caller.account != account_id:
        raise Forbidden(f"Cannot {action} other accounts")
    return accounts.get(account_id)


ACCOUNT: Final = "/api/v1/accounts/{account_id}"

ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/accounts",
        Open.EITHER,
        create_account,
        "Create an account",
        max_bytes=128 * 1024,
        conflicts=True,
    ),
    Route("GET", "/api/v1/accounts", ADMINS, list_accounts, "List accounts, oldest first"),
    Route("GET", ACCOUNT, OWNERS, get_account, "Get an account", missing=NO_ACCOUNT),
    Route("POST", f"{ACCOUNT}/api-key/rotate", OWNERS, rotate_key, "Replace an account's key", missing=NO_ACCOUNT),
    Route("DELETE", ACCOUNT, OWNERS, delete_account, "Delete an account", missing=NO_ACCOUNT),
)
