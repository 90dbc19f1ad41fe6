"""The contract's accounts: create one, with a key or an enrolment token; get, rekey and delete one; list them all.

Times are in UTC, balances in USD. Accounts are not charged yet: every balance is zero.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints
from structlog.contextvars import bind_contextvars

from functions.apis.capacity.dialect import ACCOUNTS, ADMINS, NO_HEADER
from functions.apis.capacity.operators import ENROLMENT_TOKEN, NO_DATACENTERS, Scopes, account_type_of
from functions.apis.capacity.settings import CapacitySettings
from functions.apis.capacity.wire import Short
from functions.domain.access import Role, beyond, digest
from functions.domain.accounts import DEFAULT_SCOPE, PRIVILEGED, Account, AccountType, Enrolment
from functions.domain.refusals import Forbidden, Malformed, Unauthenticated
from functions.engine.accounts import NO_ACCOUNT, Accounts
from functions.engine.enrolments import Enrolments, UnusableEnrolment
from functions.engine.operator_sessions import SESSION_TOKEN, Sessions
from functions.http.authentication import Anyone, Bearer, Open, Principal
from functions.http.routing import Route
from functions.http.validation import Unprocessable
from functions.ports.keys import KeyStore
from shared.domain.lanes import SECRETS
from shared.domain.spec import ANY_POOL, EVERY

OWNERS: Final = ACCOUNTS | ADMINS
"""An account's own key, or an operator's: an operator can replace a key that was lost or leaked."""
KEY_PREFIX: Final = "ee_live_"
BALANCE: Final = 0.0
NEXT_STEP: Final = (
    "To create a {type} account, send an admin's key or session, or have an operator issue an enrolment token: "
    "POST /api/v1/admin/enrolments"
)
MAX_LISTED: Final = 1000
NOT_GRANTED: Final = "This account may not have the scope {outside}; ask for less than {scope}, or leave it out"

Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^\P{Cc}*$")]


class NewAccount(BaseModel):
    """`POST /api/v1/accounts`. `datacenters`, an addition to the contract, limits what a launcher may claim."""

    model_config = ConfigDict(frozen=True)

    name: Name
    account_type: Short
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    datacenters: Scopes = ()


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
    """`datacenters`, an addition to the contract, is left out if a launcher has no scope of its own."""

    github_login: None = None
    github_org: None = None
    datacenters: Annotated[tuple[str, ...], Field(exclude_if=lambda scope: scope in ((), DEFAULT_SCOPE))]


class KeyAnswer(BaseModel):
    """The only answers that contain the key."""

    api_key: str
    warning: str = "Store this API key now: it is not shown again. Whoever has it acts as this account."


class CreatedAccount(AccountFields, KeyAnswer):
    """The new account."""


class RotatedKey(KeyAnswer):
    account_id: str
    rotated_at: datetime


class AccountDeleted(BaseModel):
    status: Literal["deleted"] = "deleted"
    account_id: str


class AccountFilter(BaseModel):
    """The query of `GET /api/v1/accounts`: `name` matches any part of the name, in any case.

    The contract has no pages: `limit` and `after` are additions.
    """

    model_config = ConfigDict(frozen=True)

    name: Name = ""
    account_type: Short = ""
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = MAX_LISTED
    after: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


class AccountList(BaseModel):
    """A page of the accounts; `total` counts those of all pages. If there are more, `next` is the `after` of the next
    page.
    """

    accounts: tuple[AccountView, ...]
    total: int
    next: Annotated[str | None, Field(exclude_if=lambda mark: mark is None)] = None


@dataclass(frozen=True, slots=True)
class Consent:
    """What allows a new account: an operator, an enrolment, or neither. `scope` is the largest of its launcher."""

    confirmed: bool
    scope: tuple[str, ...] = DEFAULT_SCOPE
    enrolment: Enrolment | None = None


BY_OPERATOR: Final = Consent(confirmed=True, scope=(EVERY, ANY_POOL, SECRETS))


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
    try:
        consent = _consent(kind, caller, enrolments, keys, sessions, settings)
        if outside := beyond(body.datacenters, consent.scope):
            raise Forbidden(NOT_GRANTED.format(outside=", ".join(outside), scope=", ".join(consent.scope)))
        account, api_key = accounts.create(
            body.name,
            kind,
            body.description,
            _scope(kind, body, consent),
            consent.enrolment,
            confirmed=consent.confirmed,
            key_prefix=KEY_PREFIX,
        )
    except UnusableEnrolment as refusal:
        raise Forbidden(f"{refusal.message} {NEXT_STEP.format(type=kind)}") from None
    bind_contextvars(account=account.id)
    return CreatedAccount(**AccountFields.model_validate(account).model_dump(), api_key=api_key)


def _consent(
    kind: AccountType,
    caller: Bearer | Anyone,
    enrolments: Enrolments,
    keys: KeyStore,
    sessions: Sessions,
    settings: CapacitySettings,
) -> Consent:
    """Return what allows the account. Raises Unauthenticated, Forbidden, UnusableEnrolment."""
    is_open = kind not in PRIVILEGED or settings.open_signup
    token = caller.token if isinstance(caller, Bearer) else ""
    try:
        if token.startswith(SESSION_TOKEN):
            sessions.check(token)
            return BY_OPERATOR
        if token.startswith(ENROLMENT_TOKEN) and kind in PRIVILEGED:
            enrolment = enrolments.require(token, kind)
            return Consent(confirmed=True, scope=enrolment.datacenters, enrolment=enrolment)
    except (Unauthenticated, UnusableEnrolment):
        if not is_open:
            raise
    if token and (key := keys.find(digest(token))) is not None and key.role is Role.ADMIN:
        return BY_OPERATOR
    if is_open:
        return Consent(confirmed=False)
    if isinstance(caller, Anyone):
        raise Unauthenticated(NO_HEADER)
    raise Forbidden(NEXT_STEP.format(type=kind))


def _scope(kind: AccountType, body: NewAccount, consent: Consent) -> tuple[str, ...]:
    """Return the scope of the new account: what is asked for, or all that is granted without an operator at hand."""
    if kind is not AccountType.LAUNCHER:
        return ()
    return body.datacenters or (DEFAULT_SCOPE if consent is BY_OPERATOR else consent.scope)


def get_account(caller: Principal, accounts: Accounts, account_id: str) -> AccountView:
    return AccountView.model_validate(_require_owned(account_id, caller, accounts, "view"))


def list_accounts(query: AccountFilter, accounts: Accounts) -> AccountList:
    """Return a page of the accounts, oldest first."""
    named = query.account_type.strip().lower()
    if named and named not in list(AccountType):
        return AccountList(accounts=(), total=0)
    kind = AccountType(named) if named else None
    page = accounts.list_accounts(query.name.strip(), kind, query.limit, query.after)
    views = tuple(AccountView.model_validate(account) for account in page.accounts)
    return AccountList(accounts=views, total=page.total, next=page.next)


def rotate_key(caller: Principal, accounts: Accounts, account_id: str) -> RotatedKey:
    account = _require_owned(account_id, caller, accounts, "rotate API keys for")
    api_key, rotated_at = accounts.rotate_key(account, KEY_PREFIX)
    return RotatedKey(account_id=account.id, api_key=api_key, rotated_at=rotated_at)


def delete_account(caller: Principal, accounts: Accounts, account_id: str) -> AccountDeleted:
    account = _require_owned(account_id, caller, accounts, "delete")
    accounts.delete(account)
    return AccountDeleted(account_id=account.id)


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
