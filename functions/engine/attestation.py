"""Decides whether an agent's evidence is accepted, and issues challenges with nonces.

The trust authority appraises quotes; its verdict is checked against what the operator trusts (`trust`). The quote's
report data (64 bytes, docs/attestation.md) proves more, if the machine puts it there:

| bytes | what | proves |
|---|---|---|
| 0 to 15 | the nonce of a challenge | that the quote is fresh |
| 16 to 47 | the SHA-256 of `LABEL`, bootstrap token, line break, agent key | whose machine it is, and whose key |
| 48 to 63 | zero | |
"""

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from functions.domain.agents import Challenge, Measured, SpentProof
from functions.domain.refusals import Forbidden, Malformed
from functions.engine.concurrency import run_all
from functions.engine.credentials import NONCE_BYTES, ChallengeNonces
from functions.engine.trust import Nonces, Trust
from functions.ports.attestation import Appraiser
from functions.ports.records import Records
from shared.log_events import LogEvent

NONCE_DIGITS: Final = 2 * NONCE_BYTES
REPORT_DATA_DIGITS: Final = 128
CHALLENGE_VALID: Final = timedelta(seconds=300)
CLOCK_SKEW: Final = timedelta(seconds=30)
"""The tolerated difference between the clocks of two instances."""
LABEL: Final = b"launchyard agent key v1\n"
"""The text before the bootstrap token in what a quote binds. It is never changed."""
FORGET_SECONDS: Final = 4.0
"""The time that one sweep spends on proofs that have expired."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Evidence:
    """An agent's evidence: its quote in base64, the trust authority's token for it, or both."""

    quote: str | None = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Appraised:
    """Accepted evidence. `digest` is the SHA-256 of the token, or of the quote in base64 as encoders write it: a repeat
    has the same, however its base64 was written. It is stored, and other versions compare it.
    """

    measured: Measured
    digest: str


class TokenMissing(Malformed):
    """The evidence has no token, and the control plane does not fetch one for this agent."""


@contextmanager
def _refusals_logged() -> Iterator[None]:
    """Log why a proof is refused. The reasons name measurements and never hold the evidence."""
    try:
        yield
    except Forbidden as refusal:
        message = "An agent's proof of its machine was refused."
        log.warning(LogEvent.ATTESTATION_REFUSED, message=message, why=refusal.message)
        raise


@dataclass(frozen=True, slots=True)
class Verifier:
    """Issues challenges, and appraises evidence (the Verifier of RFC 9334, with the trust authority's help)."""

    appraiser: Appraiser
    spent: Records[SpentProof]
    trust: Trust
    nonces: ChallengeNonces
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def challenge(self, vm_name: str) -> Challenge:
        """Return a new challenge for this machine. Those before it stay valid."""
        now = self.clock()
        salt = UUID(self.new_id()).bytes  # its first 4 bytes are random
        return Challenge(self.nonces.issue(vm_name, now, salt).hex(), now)

    @_refusals_logged()
    def appraise(self, evidence: Evidence, fetch_token: bool) -> Appraised:
        """Check the evidence, and return the machine's measurements.

        If `fetch_token` is true, and the evidence has a quote but no token, ask the trust authority for a token. Raises
        TokenMissing, Malformed, Forbidden, Unavailable.
        """
        if evidence.token is not None:
            token, sent = evidence.token, evidence.token.encode()
        elif fetch_token and evidence.quote is not None:
            try:
                sent = base64.b64encode(base64.b64decode(evidence.quote, validate=True))
            except ValueError:
                raise Malformed("The quote is not base64.") from None
            token = self.appraiser.appraise(evidence.quote)
        else:
            raise TokenMissing("The evidence has no token from the trust authority.")
        measured = self.appraiser.measured(token, self.clock())
        self.trust.require(measured)
        return Appraised(measured, hashlib.sha256(sent).hexdigest())

    @_refusals_logged()
    def require_nonce(self, vm_name: str, appraised: Appraised, always: bool) -> str | None:
        """Return the nonce with which the report data begins; None if there is none, and none is required.

        It is required if `always`, or if the operator's policy says so. Raises Forbidden, Malformed.
        """
        mode = Nonces.REQUIRED if always else self.trust.nonces
        sent = appraised.measured.report_data[:NONCE_DIGITS].lower()
        if mode is Nonces.DISABLED:
            return None
        if not sent.strip("0"):
            if mode is Nonces.OPTIONAL:
                return None
            raise Malformed("A nonce is required: ask for a challenge, and begin the quote's report data with it.")
        issued_at, now = self.nonces.issued_at(vm_name, bytes.fromhex(sent)), self.clock()
        if issued_at is not None and issued_at - CLOCK_SKEW <= now < issued_at + CHALLENGE_VALID:
            return sent
        if issued_at is not None and mode is Nonces.OPTIONAL:  # it was slow: the same as if it had asked for none
            return None
        raise Forbidden("The nonce does not belong to a valid challenge for this machine.")

    @_refusals_logged()
    def require_mrtd(self, mrtd: str, appraised: Appraised) -> None:
        """Raise Forbidden unless the machine's MRTD is the one that its agent registered with."""
        if appraised.measured.mrtd != mrtd:
            raise Forbidden("The MRTD is not the one that this agent registered with")

    @_refusals_logged()
    def require_binding(self, binding: str, appraised: Appraised) -> None:
        """Raise Forbidden unless the report data holds this after the nonce (`binding_of`)."""
        if appraised.measured.report_data[NONCE_DIGITS:].lower() != binding:
            raise Forbidden("The quote's report data does not bind this bootstrap token and this agent_key.")

    @_refusals_logged()
    def spend(self, agent: str, appraised: Appraised, nonce: str | None) -> None:
        """Use up the evidence, and the nonce in it, for the agent of this record id.

        No other agent can use the evidence after that, and no other evidence the nonce; the same agent can send the
        same evidence again. Raises Forbidden, Unavailable.
        """
        expires_at = appraised.measured.expires_at
        self._spend("evidence", appraised.digest, agent, appraised, expires_at)
        if nonce is not None:
            expires_at = self.clock() + CHALLENGE_VALID + CLOCK_SKEW
            self._spend("nonce", nonce, agent, appraised, expires_at)

    def _spend(self, what: str, value: str, agent: str, appraised: Appraised, expires_at: datetime) -> None:
        fresh = SpentProof(f"{what}\n{value}", agent, appraised.digest, expires_at)

        def spent_again(stored: SpentProof) -> SpentProof:
            if (stored.agent, stored.evidence) != (fresh.agent, fresh.evidence):
                raise Forbidden(f"The {what} was used before.")
            return stored

        self.spent.upsert(fresh.id, fresh, spent_again)


@dataclass(frozen=True, slots=True)
class SpentProofs:
    """What the sweep does about proofs; it needs no trust authority."""

    records: Records[SpentProof]
    clock: Callable[[], datetime]

    def forget(self, limit: int) -> int:
        """Remove at most `limit` expired records of spent proofs, and return how many. Raises Unavailable."""
        now = self.clock()

        def forget(one: SpentProof) -> bool:
            return self.records.take(one.id, lambda proof: proof.expires_at < now) is not None

        return sum(run_all(forget, self.records.before("expires_at", now, limit), FORGET_SECONDS))


def binding_of(bootstrap_token: str, agent_key: bytes) -> str:
    """Return, in hex, what the report data must hold after the nonce: bytes 16 to 63.

    The bootstrap token is that of one order at one epoch; `agent_key` is the public key that the agent made.
    """
    bound = hashlib.sha256(LABEL + bootstrap_token.encode() + b"\n" + agent_key)
    return bound.hexdigest().ljust(REPORT_DATA_DIGITS - NONCE_DIGITS, "0")
