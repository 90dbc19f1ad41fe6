"""Operators' sessions: the password buys a token that is valid for a day. Tokens are not stored."""

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from itsdangerous import BadSignature, Signer

from functions.domain.refusals import Forbidden, Refusal, Unauthenticated

SESSION_TOKEN: Final = "ee_session_"  # noqa: S105 (the prefix of such tokens)
SESSION_VALID: Final = timedelta(hours=24)
SALT: Final = "launchyard.admin-session"


class NotConfigured(Refusal):
    """The deployment has no password for operators."""

    code = "not_configured"
    title = "Not configured"


class Sessions:
    """Opens and checks operators' sessions.

    `password` is None if none is set; `allowed` is False if operators may use keys only. Tokens are signed with
    `secret` and the password, so a new password ends the sessions of the old one.
    """

    def __init__(
        self, secret: str, password: str | None, allowed: bool = True, *, clock: Callable[[], datetime]
    ) -> None:
        self._allowed, self._clock = allowed, clock
        self._expected = None if password is None else _digest(password)
        self._signer = Signer(f"{secret}{self._expected}", salt=SALT, digest_method=hashlib.sha256)

    def open(self, password: str) -> tuple[str, datetime]:
        """Return a token and its expiry. Raises Forbidden, NotConfigured, Unauthenticated."""
        if not self._allowed:
            raise Forbidden("Password login is disabled")
        if self._expected is None:
            raise NotConfigured("Admin password is not configured")
        if not hmac.compare_digest(_digest(password), self._expected):
            raise Unauthenticated("Invalid password")
        until = (self._clock() + SESSION_VALID).replace(microsecond=0)
        return self._signer.sign(f"{SESSION_TOKEN}{int(until.timestamp())}").decode(), until

    def check(self, token: str) -> None:
        """Raise Unauthenticated if the token is not valid, or if operators may no longer log in."""
        try:
            signed = self._signer.unsign(token).decode()
        except BadSignature:
            raise Unauthenticated("Invalid session token") from None
        if not self._allowed or self._expected is None:
            raise Unauthenticated("Invalid session token")
        if self._clock() >= datetime.fromtimestamp(int(signed.removeprefix(SESSION_TOKEN)), UTC):
            raise Unauthenticated("Session expired")


def _digest(password: str) -> str:
    """Return a digest to compare: its length is constant, so the comparison's time reveals nothing."""
    return hashlib.sha256(password.encode()).hexdigest()
