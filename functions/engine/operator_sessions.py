"""Operators' sessions: the password buys a token that is valid for a day. Tokens are not stored, only their early ends.

The password is compared by a slow hash, one at a time and so many a minute, whoever asks: behind a proxy all callers
may have one address. The tries that come back are shared, so while somebody guesses, an operator may have to repeat a
login, or use an admin key, to which no such limit applies.
"""

import hashlib
import hmac
import math
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

import structlog
from itsdangerous import BadSignature, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from functions.domain.access import digest
from functions.domain.refusals import Forbidden, QuotaExceeded, Refusal, Unauthenticated
from functions.engine.quotas import TokenBucket
from functions.ports.records import Records
from shared.log_events import LogEvent

SESSION_TOKEN: Final = "ee_session_"  # noqa: S105 (the prefix of such tokens)
SESSION_VALID: Final = timedelta(hours=24)
SALT: Final = "launchyard.admin-session"
LOGINS: Final = "logins"
"""The quota of tries to log in at one instance."""
LOGINS_A_MINUTE: Final = 10
BUSY_SECONDS: Final = 1
"""When to try again if another login is being checked."""
ALL: Final = "all"
"""The id of the record that counts how often all sessions were ended."""
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)

log = structlog.get_logger()


class NotConfigured(Refusal):
    """The deployment has no password for operators."""

    code = "not_configured"
    title = "Not configured"


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The end of one session before its time, stored under its token's SHA-256; forgotten after `until`.

    The record ALL holds the present generation: sessions of an earlier one are over.
    """

    id: str
    until: datetime
    generation: int = 0


@dataclass(frozen=True, slots=True)
class SessionEnds:
    """What the sweep does about sessions; it knows neither the secret nor the password."""

    records: Records[SessionEnd]
    clock: Callable[[], datetime]

    def forget(self, limit: int) -> int:
        """Forget the ends of sessions whose time has passed, at most `limit`; return their number."""
        over = self.records.before("until", self.clock(), limit)
        return sum(self.records.take(one.id) is not None for one in over)


class Sessions:
    """Opens, checks and ends operators' sessions.

    `password` is None if none is set; `allowed` is False if operators may use keys only. Tokens are signed with
    `secret` and the password, so a new password ends the sessions of the old one. A session that was signed with the
    secret `previous` is valid, too.
    """

    def __init__(
        self,
        secret: str,
        password: str | None,
        allowed: bool = True,
        *,
        previous: str | None = None,
        ends: Records[SessionEnd],
        clock: Callable[[], datetime],
    ) -> None:
        self._allowed, self._clock, self._ends = allowed, clock, ends
        self._password_digest = None if password is None else digest(password)
        keys = [f"{one}{self._password_digest}" for one in (previous, secret) if one is not None]
        self._signer = Signer(keys, salt=SALT, digest_method=hashlib.sha256)  # it signs with the last
        self._tries = TokenBucket(LOGINS_A_MINUTE / 60, LOGINS_A_MINUTE, clock)
        self._salt, self._hashing = secrets.token_bytes(16), threading.Lock()

    def open(self, password: str) -> tuple[str, datetime]:
        """Return a token and its expiry.

        Raises Forbidden, NotConfigured, QuotaExceeded, Unauthenticated, Unavailable.
        """
        if not self._allowed:
            raise Forbidden("Password login is disabled")
        if self._password_digest is None:
            raise NotConfigured("Admin password is not configured")
        if not self._matches(password):
            log.warning(LogEvent.LOGIN_REFUSED, message="Somebody sent a wrong password for an operator's session.")
            raise Unauthenticated("Invalid password")
        until = (self._clock() + SESSION_VALID).replace(microsecond=0)
        text = f"{SESSION_TOKEN}{int(until.timestamp())}_{self._generation()}_{secrets.token_hex(8)}"
        return self._signer.sign(text).decode(), until

    def check(self, token: str) -> None:
        """Raise Unauthenticated if the token is not valid, or if operators may no longer log in.

        Raises Unavailable if the store cannot say whether the session was ended.
        """
        until, generation = self._read(token)
        if not self._allowed or self._password_digest is None:
            raise Unauthenticated("Invalid session token")
        if self._clock() >= until:
            raise Unauthenticated("Session expired")
        if generation != self._generation() or self._ends.get(digest(token)) is not None:
            raise Unauthenticated("The session was ended; log in again")

    def end(self, token: str) -> None:
        """End the token's session, at every instance. Raises Unauthenticated, Unavailable."""
        self.check(token)
        until, _ = self._read(token)
        self._ends.add(digest(token), SessionEnd(digest(token), until))

    def end_all(self) -> None:
        """End every session that has been opened so far. Raises Unavailable."""
        first = SessionEnd(ALL, NEVER, generation=1)
        self._ends.upsert(ALL, first, lambda stored: replace(stored, generation=stored.generation + 1))

    def _matches(self, password: str) -> bool:
        """Compare in a time that says nothing of the password. Raises QuotaExceeded."""
        if wait := math.ceil(self._tries.try_take()):
            raise QuotaExceeded(LOGINS, f"Too many logins are tried now; try again in {wait} s.", wait)
        if not self._hashing.acquire(blocking=False):
            raise QuotaExceeded(LOGINS, "Another login is being checked.", BUSY_SECONDS)
        try:
            return hmac.compare_digest(self._slow_hash(digest(password)), self._expected)
        finally:
            self._hashing.release()

    @cached_property
    def _expected(self) -> bytes:
        return self._slow_hash(self._password_digest or "")

    def _slow_hash(self, password_digest: str) -> bytes:
        """Return scrypt (RFC 7914) with parameters of OWASP's, which take 16 MiB and about 0.2 s.

        https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
        """
        return hashlib.scrypt(password_digest.encode(), salt=self._salt, n=2**14, r=8, p=5, maxmem=2**26)

    def _generation(self) -> int:
        stored = self._ends.get(ALL)
        return 0 if stored is None else stored.generation

    def _read(self, token: str) -> tuple[datetime, int]:
        """Return the end of a token's session, and its generation. Raises Unauthenticated."""
        try:
            signed = self._signer.unsign(token).decode()
        except BadSignature:
            raise Unauthenticated("Invalid session token") from None
        # The signature's last digit has bits that no decoder reads. A token of another spelling has no recorded end.
        signature = token.rpartition(".")[2]
        if base64_encode(base64_decode(signature)).decode() != signature:
            raise Unauthenticated("Invalid session token")
        until, *rest = signed.removeprefix(SESSION_TOKEN).split("_")
        generation = int(rest[0]) if rest else 0  # earlier versions counted no generations
        return datetime.fromtimestamp(int(until), UTC), generation
