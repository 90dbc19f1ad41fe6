"""New accounts: a name that nobody has, and a key that is shown once."""

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from functions.apis.capacity import api_keys
from functions.apis.capacity.account_views import AccountFields, account_type
from functions.apis.capacity.dialect import Unprocessable
from functions.apis.capacity.enrolments import authorize, spending
from functions.apis.capacity.wire import Short
from functions.app import App
from functions.domain.access import digest
from functions.domain.accounts import Account, AccountType, scope
from functions.domain.refusals import Conflict, Malformed
from functions.http import logs
from functions.http.authentication import Anyone, Bearer, Open
from functions.http.routing import Route

NAME_REQUIRED: Final = "Account name is required"
NAME_TAKEN: Final = "Account '{name}' already exists"
NO_DATACENTERS: Final = {
    "type": "value_error",
    "loc": ["body", "datacenters"],
    "msg": "Only a launcher account is held to datacenters",
}

Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^\P{Cc}*$")]
Scope = Annotated[Short, AfterValidator(scope)]
"""`gcp` or `gcp:us-central1-a`."""


class NewAccount(BaseModel):
    """`POST /api/v1/accounts`. `datacenters` is an addition of ours: what a launcher may claim for, all where empty."""

    model_config = ConfigDict(frozen=True)

    name: Name
    account_type: Short
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    datacenters: Annotated[tuple[Scope, ...], Field(max_length=50)] = ()


class CreatedAccount(AccountFields):
    """The only answer that has the key."""

    api_key: str
    warning: str = api_keys.WARNING


def create(body: NewAccount, caller: Bearer | Anyone, app: App) -> CreatedAccount:
    wanted = _type(body)
    if not body.name:
        raise Malformed(NAME_REQUIRED)
    enrolment = authorize(wanted, caller, app)
    if app.capacity.accounts.get(body.name) is not None:
        raise _taken(body.name)
    key = api_keys.new_key(app)
    account = _account(body, wanted, digest(key), app)
    with spending(enrolment, account.id, app):
        _store(account, app)
    logs.note(account=account.id)
    return CreatedAccount(**AccountFields.model_validate(account).model_dump(), api_key=key)


def _type(body: NewAccount) -> AccountType:
    """Raises Malformed, Unprocessable."""
    wanted = account_type(body.account_type)
    if body.datacenters and wanted is not AccountType.LAUNCHER:
        raise Unprocessable([NO_DATACENTERS])
    return wanted


def _account(body: NewAccount, wanted: AccountType, key_digest: str, app: App) -> Account:
    return Account(
        id=app.new_id(),
        name=body.name,
        account_type=wanted,
        description=body.description,
        key_digest=key_digest,
        created_at=app.clock(),
        datacenters=tuple(dict.fromkeys(body.datacenters)),
    )


def _store(account: Account, app: App) -> None:
    """The key first: what comes of a crash is a key that nobody knows, not an account without one. Raises Conflict."""
    api_keys.admit(account.key_digest, account, app)
    try:
        app.capacity.accounts.add(account.name, account)
    except Conflict:
        api_keys.withdraw([account.key_digest], app)
        raise _taken(account.name) from None


def _taken(name: str) -> Conflict:
    return Conflict(NAME_TAKEN.format(name=name))


ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/accounts",
        Open.EITHER,
        create,
        "Create an account",
        max_bytes=128 * 1024,
        conflicts=True,
    ),
)
