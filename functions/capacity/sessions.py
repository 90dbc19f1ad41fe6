"""Operators' sessions: a password buys a token for a day. The token is signed, not stored."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Final

from itsdangerous import BadSignature, Signer

from shared.domain.refusals import Forbidden, Refusal, Unauthenticated

SESSION_TOKEN: Final = "ee_session_"  # noqa: S105 (what such tokens begin with)
SESSION_VALID: Final = timedelta(hours=24)
SALT: Final = "launchyard.admin-session"


class NotConfigured(Refusal):
    """The deployment has no operators' password."""

    code = "not_configured"
    title = "Not configured"


class Sessions:
    """`password` None: none was set; `allowed` False: keys only. `secret` signs the tokens."""

    def __init__(self, secret: str, password: str | None, allowed: bool = True) -> None:
        self._secret, self._password, self._allowed = secret, password, allowed

    def open(self, password: str, now: datetime) -> tuple[str, datetime]:
        """Return a token and its end. Raises Forbidden, NotConfigured, Unauthenticated."""
        if not self._allowed:
            raise Forbidden("Password login is disabled")
        if self._password is None:
            raise NotConfigured("Admin password is not configured")
        if not hmac.compare_digest(password.encode(), self._password.encode()):
            raise Unauthenticated("Invalid password")
        until = now + SESSION_VALID
        return self._signer().sign(f"{SESSION_TOKEN}{int(until.timestamp())}").decode(), until

    def check(self, token: str, now: datetime) -> None:
        """Raises Unauthenticated."""
        try:
            signed = self._signer().unsign(token).decode()
        except BadSignature:
            raise Unauthenticated("Invalid session token") from None
        if now >= datetime.fromtimestamp(int(signed.removeprefix(SESSION_TOKEN)), UTC):
            raise Unauthenticated("Session expired")

    def _signer(self) -> Signer:
        return Signer(self._secret, salt=SALT, digest_method=hashlib.sha256)
