"""Decides whether an agent's evidence is accepted: the operator's trusted measurements, and challenges with nonces.

The trust authority appraises quotes; this module checks its verdict against what the operator trusts. A nonce in the
quote's report data proves that the quote is fresh.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import structlog

from functions.domain.agents import Challenge, Measured
from functions.domain.refusals import Forbidden, Malformed, NotFound
from functions.engine.concurrency import run_all
from functions.ports import Appraiser, Records
from shared.log_events import LogEvent

AGENT_IMAGES: Final = frozenset({"agent", "proxy"})
"""The types of images whose programs may register as agents."""
UP_TO_DATE: Final = "UpToDate"
NONCE_BYTES: Final = 16
CHALLENGE_VALID: Final = timedelta(seconds=300)
FORGET_SECONDS: Final = 4.0
"""The time that one sweep spends on expired challenges, of which anyone can cause many."""

log = structlog.get_logger()


class Tcb(StrEnum):
    """What to do with a machine whose firmware or microcode is out of date."""

    WARN = "warn"
    STRICT = "strict"
    DISABLED = "disabled"


class Nonces(StrEnum):
    """Whether a registration must answer a challenge: always, if one was issued, or never."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Image:
    """A trusted image. Measurements are lower-case hex; only the RTMRs that are listed are compared."""

    mrtd: str
    type: str
    rtmrs: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trust:
    """The operator's policy. `images` may list one MRTD several times: RTMR 0 depends on the machine's size."""

    images: Sequence[Image] = ()
    tcb: Tcb = Tcb.STRICT
    nonces: Nonces = Nonces.OPTIONAL

    def require(self, measured: Measured) -> None:
        """Do nothing if the machine is trusted. Raises Forbidden, with the reason, if it is not."""
        if measured.debuggable:
            raise Forbidden("The machine can be debugged: its host can read its memory.")
        if not measured.mrtd:
            raise Forbidden("The attestation token has no MRTD.")
        if measured.tcb_status != UP_TO_DATE and self.tcb is Tcb.STRICT:
            raise Forbidden(f"The TCB status is {measured.tcb_status or 'not known'}; it must be {UP_TO_DATE}.")
        if measured.tcb_status != UP_TO_DATE and self.tcb is Tcb.WARN:
            log.warning(
                LogEvent.TCB_OUT_OF_DATE,
                message="An agent's machine has firmware or microcode that is out of date.",
                tcb_status=measured.tcb_status,
            )
        listed = [image for image in self.images if image.mrtd == measured.mrtd]
        if not listed:
            raise Forbidden(f"The MRTD {measured.mrtd} is not trusted.")
        agents = [image for image in listed if image.type in AGENT_IMAGES]
        if not agents:
            raise Forbidden(f"The MRTD {measured.mrtd} is that of a {listed[0].type}, which registers no agent.")
        if not any(all(measured.rtmrs.get(number) == rtmr for number, rtmr in image.rtmrs.items()) for image in agents):
            raise Forbidden("The RTMRs do not belong to a trusted image.")


@dataclass(frozen=True, slots=True)
class Evidence:
    """An agent's evidence: its quote in base64, the trust authority's token for it, or both."""

    quote: str | None = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Appraised:
    """Accepted evidence. `digest` is the SHA-256 of the evidence as it was sent, by which a repeat is recognised."""

    measured: Measured
    digest: str


class TokenMissing(Malformed):
    """The evidence has no token, and the control plane does not fetch one for this agent."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Issues challenges, and appraises evidence (the Verifier of RFC 9334, with the trust authority's help)."""

    appraiser: Appraiser
    challenges: Records[Challenge]
    trust: Trust
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def challenge(self, vm_name: str) -> Challenge:
        """Return a new challenge for this machine. It replaces the previous one."""
        now = self.clock()
        nonce = UUID(self.new_id()).hex  # 122 of its 128 bits are random
        fresh = Challenge(vm_name, nonce, now, now + CHALLENGE_VALID)
        return self.challenges.upsert(vm_name, fresh, lambda _previous: fresh)

    def appraise(self, evidence: Evidence, fetch_token: bool) -> Appraised:
        """Check the evidence, and return the machine's measurements.

        If `fetch_token` is true, and the evidence has a quote but no token, ask the trust authority for a token. Raises
        TokenMissing, Malformed, Forbidden, Unavailable.
        """
        token, sent = evidence.token, evidence.token
        if token is None and fetch_token and evidence.quote is not None:
            try:
                base64.b64decode(evidence.quote, validate=True)
            except ValueError:
                raise Malformed("The quote is not base64.") from None
            token, sent = self.appraiser.appraise(evidence.quote), evidence.quote
        if token is None or sent is None:
            raise TokenMissing("The evidence has no token from the trust authority.")
        measured = self.appraiser.measured(token, self.clock())
        self.trust.require(measured)
        return Appraised(measured, hashlib.sha256(sent.encode()).hexdigest())

    def spend_challenge(self, vm_name: str, appraised: Appraised) -> None:
        """Use up the machine's challenge for this evidence, whose report data begins with the nonce.

        Other evidence cannot use it after that; the same evidence can be sent again. Raises Forbidden, Malformed.
        """
        mode = self.trust.nonces
        if mode is Nonces.DISABLED:
            return
        sent, now = appraised.measured.report_data[: 2 * NONCE_BYTES].lower(), self.clock()

        def spent(challenge: Challenge) -> Challenge:
            if challenge.met_by == appraised.digest:
                return challenge
            matches, used = challenge.nonce.lower() == sent, challenge.met_by is not None
            if now >= challenge.expires_at or (used and not matches):  # the same as if no challenge had been issued
                if mode is Nonces.OPTIONAL:
                    return challenge
                raise _nonce_refused(sent)
            if not matches:
                raise _nonce_refused(sent)
            if used:
                raise Forbidden("The nonce was used before.")
            return replace(challenge, met_by=appraised.digest)

        try:
            self.challenges.change(vm_name, spent)
        except NotFound:
            if mode is Nonces.REQUIRED:
                raise _nonce_refused(sent) from None

    def forget_challenges(self, limit: int) -> int:
        """Remove at most `limit` expired challenges, and return how many were removed. Raises Unavailable."""
        now = self.clock()

        def forget(one: Challenge) -> bool:
            return self.challenges.take(one.vm_name, lambda challenge: challenge.expires_at < now) is not None

        return sum(run_all(forget, self.challenges.before("expires_at", now, limit), FORGET_SECONDS))


def _nonce_refused(sent: str) -> Forbidden | Malformed:
    """Return the refusal. An agent gives up at 403, but one that sent no nonce can ask for one and try again."""
    if sent.strip("0"):
        return Forbidden("The nonce does not belong to a valid challenge for this machine.")
    return Malformed("A nonce is required: ask for a challenge, and begin the quote's report data with it.")
