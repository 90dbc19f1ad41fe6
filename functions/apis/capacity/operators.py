"""For operators: log in with the password for a session, and issue enrolment tokens, which create one account each."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from functions.apis.capacity.dialect import ADMINS
from functions.apis.capacity.wire import Short
from functions.domain.accounts import PRIVILEGED, AccountType
from functions.domain.refusals import Malformed
from functions.engine.enrolments import Enrolments
from functions.engine.operator_sessions import Sessions
from functions.http.authentication import Open
from functions.http.routing import Route

ENROLMENT_TOKEN: Final = "ee_enrol_"  # noqa: S105 (the prefix of such tokens)
MAX_ENROLMENT_TTL: Final = timedelta(days=30)
DEFAULT_ENROLMENT_TTL: Final = timedelta(days=1)


class NewEnrolment(BaseModel):
    """`POST /api/v1/admin/enrolments`."""

    model_config = ConfigDict(frozen=True)

    account_type: Short
    ttl_seconds: Annotated[int, Field(ge=1, le=MAX_ENROLMENT_TTL.total_seconds())] = int(
        DEFAULT_ENROLMENT_TTL.total_seconds()
    )


class IssuedEnrolment(BaseModel):
    """The only answer that contains the token."""

    token: str
    account_type: AccountType
    expires_at: datetime


class Login(BaseModel):
    """`POST /admin/login`."""

    model_config = ConfigDict(frozen=True)

    password: Annotated[SecretStr, Field(max_length=1000)]


class Session(BaseModel):
    token: str
    expires_at: datetime


def issue_enrolment(body: NewEnrolment, enrolments: Enrolments) -> IssuedEnrolment:
    kind = account_type_of(body.account_type)
    if kind not in PRIVILEGED:
        raise Malformed(f"Anyone may create {kind} accounts; no token is needed")
    token, enrolment = enrolments.issue(kind, timedelta(seconds=body.ttl_seconds), ENROLMENT_TOKEN)
    return IssuedEnrolment(token=token, account_type=kind, expires_at=enrolment.expires_at)


def log_in(body: Login, sessions: Sessions) -> Session:
    token, expires_at = sessions.open(body.password.get_secret_value())
    return Session(token=token, expires_at=expires_at)


def account_type_of(text: str) -> AccountType:
    """Return the account type. Raises Malformed: this contract answers an unknown type with 400, not 422."""
    if text not in list(AccountType):
        raise Malformed(f"Invalid account_type. Expected one of: {', '.join(AccountType)}")
    return AccountType(text)


ROUTES: Final = (
    Route("POST", "/admin/login", Open.ANYONE, log_in, "Open an operator's session"),
    Route(
        "POST",
        "/api/v1/admin/enrolments",
        ADMINS,
        issue_enrolment,
        "Issue a token that creates one account",
    ),
)
