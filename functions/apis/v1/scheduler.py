"""Lets the scheduler call the function `sweep`, in addition to operators.

The function is private: Cloud Run verifies the caller's identity token and its permission (`run.invoker`), then passes
the token on with its signature removed (https://cloud.google.com/run/docs/troubleshooting#signature-removed). So there
is nothing to verify here, only the name to compare. In any other function, anybody could send such a token.
"""

import base64

from pydantic import BaseModel, ConfigDict

from functions.apis.v1.settings import SweepSettings
from functions.domain.access import Role
from functions.http.authentication import Access, Caller, Open, Principal, authenticate, bearer
from functions.ports.keys import KeyStore


class TokenClaims(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    email: str


def authenticate_scheduler(
    access: Access, authorization: str | None, keys: KeyStore, settings: SweepSettings
) -> Caller:
    """Return the caller: an operator if the token names the scheduler. Raises Unauthenticated, Forbidden."""
    token = bearer(authorization)
    by_operators = not isinstance(access, Open) and Role.ADMIN in access
    if by_operators and settings.caller is not None and token is not None and _email(token) == settings.caller:
        return Principal(Role.ADMIN, settings.caller)
    return authenticate(access, authorization, keys)


def _email(token: str) -> str | None:
    """Return the address that a JWT (RFC 7519) claims; None if it is no JWT, or claims none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return TokenClaims.model_validate_json(claims).email
    except ValueError:
        return None
