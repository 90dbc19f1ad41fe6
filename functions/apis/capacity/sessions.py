"""Operators' sessions: a password buys a token for a day. The token is signed, not stored."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Final

from itsdangerous import BadSignature, Signer

from functions.domain.refusals import Forbidden, Refusal, Unauthenticated

SESSION_TOKEN: Final = "ee_session_"  # noqa: S105 (what such tokens begin with)
SESSION_VALID: Final = timedelta(hours=24)
SALT: Final = "launchyard.admin-session"


class NotConfigured(Refusal):
    """The deployment has no operators' password."""

    code = "not_configured"
    title = "Not configured"


class Sessions:
    """`password` None: none was set; `allowed` False: keys only. `secret` signs the tokens, and the password with it:
    a new password ends the sessions that the old one bought."""

    def __init__(self, secret: str, password: str | None, allowed: bool = True) -> None:
        self._allowed = allowed
        self._expected = None if password is None else _digest(password)
        self._secret = f"{secret}{self._expected}"

    def open(self, password: str, now: datetime) -> tuple[str, datetime]:
        """Return a token and its end. Raises Forbidden, NotConfigured, Unauthenticated."""
        if not self._allowed:
            raise Forbidden("Password login is disabled")
        if self._expected is None:
            raise NotConfigured("Admin password is not configured")
        if not hmac.compare_digest(_digest(password), self._expected):
            raise Unauthenticated("Invalid password")
        until = (now + SESSION_VALID).replace(microsecond=0)
        return self._signer().sign(f"{SESSION_TOKEN}{int(until.timestamp())}").decode(), until

    def check(self, token: str, now: datetime) -> None:
        """Raises Unauthenticated, also where sessions can no longer be bought."""
        try:
            signed = self._signer().unsign(token).decode()
        except BadSignature:
            raise Unauthenticated("Invalid session token") from None
        if not self._allowed or self._expected is None:
            raise Unauthenticated("Invalid session token")
        if now >= datetime.fromtimestamp(int(signed.removeprefix(SESSION_TOKEN)), UTC):
            raise Unauthenticated("Session expired")

    def _signer(self) -> Signer:
        return Signer(self._secret, salt=SALT, digest_method=hashlib.sha256)


def _digest(password: str) -> str:
    """Return what is compared of a password: always as long, so that the time it takes tells nothing of its length."""
    return hashlib.sha256(password.encode()).hexdigest()
