"""Who may create accounts of the types that can cause machines to be started: operators, and whoever they enrol.

An enrolment token is good for one account. It is marked with that account's id rather than removed, so that a mark
whose answer was lost is known for ours, and is unmarked where the account could not be created.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from functions.apis.capacity import dialect
from functions.apis.capacity.account_views import account_type
from functions.apis.capacity.sessions import SESSION_TOKEN
from functions.apis.capacity.wire import Short
from functions.app import App
from functions.domain.access import Role, digest
from functions.domain.accounts import PRIVILEGED, AccountType, Enrolment
from functions.domain.refusals import Forbidden, Malformed, NotFound, Refusal, Unauthenticated
from functions.engine.concurrency import together
from functions.http.authentication import Anyone, Bearer

TOKEN: Final = "ee_enrol_"  # noqa: S105 (what such tokens begin with)
TOKEN_BYTES: Final = 32
USUAL: Final = timedelta(days=1)
LONGEST: Final = timedelta(days=30)
SECONDS: Final = 2.0
"""How long a sweep goes on forgetting enrolments."""
USELESS: Final = "This token is unknown, expired, used, or not for {type} accounts. "
NEXT_STEP: Final = (
    "To create a {type} account, send an admin's key or session, or have an operator issue an enrolment token: "
    "POST /api/v1/admin/enrolments"
)


class NewEnrolment(BaseModel):
    """`POST /api/v1/admin/enrolments`."""

    model_config = ConfigDict(frozen=True)

    account_type: Short
    ttl_seconds: Annotated[int, Field(ge=1, le=LONGEST.total_seconds())] = int(USUAL.total_seconds())


class IssuedEnrolment(BaseModel):
    """The only answer that has the token."""

    token: str
    account_type: AccountType
    expires_at: datetime


def issue(body: NewEnrolment, app: App) -> IssuedEnrolment:
    wanted = account_type(body.account_type)
    if wanted not in PRIVILEGED:
        raise Malformed(f"Anyone may create {wanted} accounts; no token is needed")
    token = f"{TOKEN}{app.new_secret(TOKEN_BYTES)}"
    expires_at = app.clock() + timedelta(seconds=body.ttl_seconds)
    app.capacity.enrolments.add(digest(token), Enrolment(digest(token), wanted, expires_at))
    return IssuedEnrolment(token=token, account_type=wanted, expires_at=expires_at)


def authorize(wanted: AccountType, caller: Bearer | Anyone, app: App) -> Enrolment | None:
    """Return the enrolment by which an account of this type may be created; None where none is needed.

    Raises Unauthenticated, Forbidden.
    """
    if wanted not in PRIVILEGED or app.capacity.open_signup:
        return None
    if isinstance(caller, Anyone):
        raise Unauthenticated(dialect.MISSING)
    if caller.token.startswith(TOKEN):
        return _standing(caller.token, wanted, app)
    if caller.token.startswith(SESSION_TOKEN):
        dialect.admin(caller.token, app)
        return None
    key = app.keys.find(digest(caller.token))
    if key is None or key.role is not Role.ADMIN:
        raise Forbidden(NEXT_STEP.format(type=wanted))
    return None


@contextmanager
def spending(enrolment: Enrolment | None, account_id: str, app: App) -> Iterator[None]:
    """Use the enrolment up for this account; not so where a refusal says that none came of it. Raises Forbidden."""
    if enrolment is None:
        yield
        return
    _mark(enrolment, account_id, app)
    try:
        yield
    except Refusal:
        with suppress(NotFound):  # it has expired meanwhile, and was forgotten
            app.capacity.enrolments.change(enrolment.digest, lambda standing: _unmarked(standing, account_id))
        raise


def forget_enrolments(app: App, limit: int) -> int:
    """Remove enrolments that have expired, at most `limit`, for so long, and return how many they were."""
    expired = app.capacity.enrolments.before("expires_at", app.clock(), limit)
    return sum(together(lambda enrolment: app.capacity.enrolments.take(enrolment.digest) is not None, expired, SECONDS))


def _standing(token: str, wanted: AccountType, app: App) -> Enrolment:
    enrolment = app.capacity.enrolments.get(digest(token))
    if enrolment is None or not enrolment.stands(wanted, app.clock()):
        raise _useless(wanted)
    return enrolment


def _mark(enrolment: Enrolment, account_id: str, app: App) -> None:
    def marked(standing: Enrolment) -> Enrolment:
        if standing.used_by not in (None, account_id):
            raise _useless(standing.account_type)
        return replace(standing, used_by=account_id)

    try:
        app.capacity.enrolments.change(enrolment.digest, marked)
    except NotFound:
        raise _useless(enrolment.account_type) from None


def _unmarked(standing: Enrolment, account_id: str) -> Enrolment:
    return replace(standing, used_by=None) if standing.used_by == account_id else standing


def _useless(wanted: AccountType) -> Forbidden:
    return Forbidden((USELESS + NEXT_STEP).format(type=wanted))
