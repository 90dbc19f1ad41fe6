"""The capacity contract's HTTP dialect: `{"detail": …}` for every error, lenient bodies, its own texts about keys."""

import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from functions.apis.capacity.wire import STATUS_OF
from functions.domain.access import Role, digest
from functions.domain.refusals import Invalid, Refusal, Unauthenticated
from functions.engine.attestation import TokenMissing
from functions.engine.late_workers import ImpossibleReport
from functions.engine.operator_sessions import SESSION_TOKEN, NotConfigured, Sessions
from functions.http import problems
from functions.http.authentication import Access, Caller, KeyTexts, Open, Principal, bearer, caller_of
from functions.http.dialect import Dialect, RefusalResponse
from functions.http.routing import NoSuchPath, WrongMethod
from functions.http.validation import Unprocessable, parse_body, parse_query
from functions.ports.keys import KeyStore

NO_HEADER: Final = "Missing Authorization header"
WRONG_ROLE: Final[Mapping[frozenset[Role], str]] = {
    frozenset({Role.LAUNCHER}): "Launcher API key required",
    frozenset({Role.CLIENT}): "Deployer API key required",
}
ACCOUNT_TEXTS: Final = KeyTexts(
    no_header=NO_HEADER,
    malformed_header="Invalid Authorization header format. Expected: Bearer <api_key>",
    unknown_key="Invalid API key",
    wrong_role=lambda _role, access: WRONG_ROLE.get(access, "This API key may not do that"),
)
ADMIN_TEXTS: Final = replace(
    ACCOUNT_TEXTS, malformed_header="Invalid Authorization header format. Expected: Bearer <token>"
)
ACCOUNTS: Final = frozenset(Role) - {Role.ADMIN}
"""The roles of the contract's accounts."""
ADMINS: Final = frozenset({Role.ADMIN})


class ErrorAnswer(BaseModel):
    """The body of every error. If `detail` is a list, it has `type`, `loc` and `msg` of each wrong field."""

    detail: str | list[dict[str, Any]]


def authenticate(access: Access, authorization: str | None, keys: KeyStore, sessions: Sessions) -> Caller:
    """Return the caller. An operator sends a session token or a key. Raises Unauthenticated, Forbidden."""
    token, roles = bearer(authorization), frozenset() if isinstance(access, Open) else access
    if token is not None and (roles == ADMINS or (Role.ADMIN in roles and token.startswith(SESSION_TOKEN))):
        return require_admin(token, keys, sessions)
    return caller_of(access, authorization, keys, ADMIN_TEXTS if access == ADMINS else ACCOUNT_TEXTS)


def require_admin(token: str, keys: KeyStore, sessions: Sessions) -> Principal:
    """Return the operator that the session token or key belongs to. Raises Unauthenticated."""
    if token.startswith(SESSION_TOKEN):
        sessions.check(token)
        return Principal(Role.ADMIN, "admin")
    key = keys.find(digest(token))
    if key is None or key.role is not Role.ADMIN:
        raise Unauthenticated("Invalid session token")
    return Principal(key.role, key.account)


def refused(refusal: Refusal) -> RefusalResponse:
    headers = problems.headers(refusal)
    match refusal:
        case Unprocessable():
            return _detail(HTTPStatus.UNPROCESSABLE_ENTITY, list(refusal.errors))
        case NotConfigured():
            return _detail(HTTPStatus.INTERNAL_SERVER_ERROR, refusal.message)
        case WrongMethod():
            return _detail(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", headers)
        case Invalid() if refusal.fields:
            listed = "; ".join(f"{field}: {message}" for field, message in refusal.fields.items())
            return _detail(HTTPStatus.UNPROCESSABLE_ENTITY, listed)
        case NoSuchPath():
            return _detail(HTTPStatus.NOT_FOUND, "Not Found")
        case TokenMissing():
            return _detail(HTTPStatus.BAD_REQUEST, "attestation.tdx.intel_ta_token is missing")
        case ImpossibleReport():
            before, after = STATUS_OF[refusal.state], STATUS_OF[refusal.reported]
            return _detail(HTTPStatus.CONFLICT, f"The order is {before}; it cannot become {after}")
        case _:
            return _detail(problems.status(refusal), refusal.message, headers)


def _detail(status: HTTPStatus, detail: object, headers: Mapping[str, str] | None = None) -> RefusalResponse:
    return RefusalResponse(status, json.dumps({"detail": detail}), headers=headers or {})


DIALECT: Final = Dialect(
    authenticate=authenticate,
    body=parse_body,
    query=parse_query,
    refused=refused,
    internal=_detail(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error"),
    error=TypeAdapter(ErrorAnswer),
    statuses=frozenset(
        {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        }
    ),
)
