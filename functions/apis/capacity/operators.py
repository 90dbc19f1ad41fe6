"""For operators: sessions, which the password buys, and enrolment tokens, which create one account each."""

from datetime import datetime, timedelta
from operator import not_
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from functions.apis.capacity.dialect import ADMINS
from functions.apis.capacity.wire import Short
from functions.domain.accounts import PRIVILEGED, AccountType, scope
from functions.domain.refusals import Malformed, Unauthenticated
from functions.engine.enrolments import Enrolments
from functions.engine.operator_sessions import SESSION_TOKEN, Sessions
from functions.http.authentication import Bearer, Open
from functions.http.routing import Route
from functions.http.validation import Unprocessable

ENROLMENT_TOKEN: Final = "ee_enrol_"  # noqa: S105 (the prefix of such tokens)
MAX_ENROLMENT_TTL: Final = timedelta(days=30)
DEFAULT_ENROLMENT_TTL: Final = timedelta(days=1)


Scope = Annotated[Short, AfterValidator(scope)]
"""A word of a launcher's scope: `gcp` or `gcp:us-central1-a` for capacity orders there, `*` for those of all
datacenters, `any` for the orders that belong to no datacenter, `secrets` for those of them whose machines get
credentials of the operator's: images, and tasks that ask for the operator's secrets.
"""
Scopes = Annotated[tuple[Scope, ...], Field(max_length=50)]
NO_DATACENTERS: Final = {
    "type": "value_error",
    "loc": ["body", "datacenters"],
    "msg": "Only a launcher account is held to datacenters",
}


class NewEnrolment(BaseModel):
    """`POST /api/v1/admin/enrolments`, a route of ours: unknown fields are refused.

    `datacenters` is the largest scope that the account may have. Without it, a launcher may claim everything but what
    needs `secrets`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    account_type: Short
    datacenters: Scopes = ()
    ttl_seconds: Annotated[int, Field(ge=1, le=MAX_ENROLMENT_TTL.total_seconds())] = int(
        DEFAULT_ENROLMENT_TTL.total_seconds()
    )


class IssuedEnrolment(BaseModel):
    """The only answer that contains the token."""

    token: str
    account_type: AccountType
    datacenters: Annotated[tuple[str, ...], Field(exclude_if=not_)] = ()
    expires_at: datetime


class Login(BaseModel):
    """`POST /admin/login`."""

    model_config = ConfigDict(frozen=True)

    password: Annotated[SecretStr, Field(max_length=1000)]


class Session(BaseModel):
    token: str
    expires_at: datetime


class SessionsEnded(BaseModel):
    status: Literal["ended"] = "ended"


def issue_enrolment(body: NewEnrolment, enrolments: Enrolments) -> IssuedEnrolment:
    kind = account_type_of(body.account_type)
    if kind not in PRIVILEGED:
        raise Malformed(f"Anyone may create {kind} accounts; no token is needed")
    if body.datacenters and kind is not AccountType.LAUNCHER:
        raise Unprocessable([NO_DATACENTERS])
    valid = timedelta(seconds=body.ttl_seconds)
    token, enrolment = enrolments.issue(kind, valid, ENROLMENT_TOKEN, body.datacenters)
    scope_of_launcher = enrolment.datacenters if kind is AccountType.LAUNCHER else ()
    return IssuedEnrolment(
        token=token, account_type=kind, datacenters=scope_of_launcher, expires_at=enrolment.expires_at
    )


def log_in(body: Login, sessions: Sessions) -> Session:
    token, expires_at = sessions.open(body.password.get_secret_value())
    return Session(token=token, expires_at=expires_at)


def log_out(caller: Bearer, sessions: Sessions) -> SessionsEnded:
    """End the session whose token is sent."""
    if not caller.token.startswith(SESSION_TOKEN):
        raise Unauthenticated("Invalid session token")
    sessions.end(caller.token)
    return SessionsEnded()


def end_all_sessions(sessions: Sessions) -> SessionsEnded:
    """End every operator's session, also that of the caller."""
    sessions.end_all()
    return SessionsEnded()


def account_type_of(text: str) -> AccountType:
    """Return the account type. Raises Malformed: this contract answers an unknown type with 400, not 422."""
    if text not in list(AccountType):
        raise Malformed(f"Invalid account_type. Expected one of: {', '.join(AccountType)}")
    return AccountType(text)


ROUTES: Final = (
    Route("POST", "/admin/login", Open.ANYONE, log_in, "Open an operator's session"),
    Route("POST", "/admin/logout", Open.WORKER, log_out, "End an operator's session"),
    Route("DELETE", "/admin/sessions", ADMINS, end_all_sessions, "End all operators' sessions"),
    Route(
        "POST",
        "/api/v1/admin/enrolments",
        ADMINS,
        issue_enrolment,
        "Issue a token that creates one account",
        max_bytes=128 * 1024,
    ),
)
