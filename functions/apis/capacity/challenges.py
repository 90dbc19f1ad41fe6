"""Nonces that go into a quote's report data, so that an old quote does not pass for a new one."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from functions.apis.capacity.attestation import Nonces
from functions.domain.agents import Challenge
from functions.domain.refusals import Forbidden, Malformed, NotFound
from functions.engine.concurrency import together
from functions.ports import Records

NONCE_BYTES: Final = 16
CHALLENGE_VALID: Final = timedelta(seconds=300)
SECONDS: Final = 4.0
"""How long a sweep goes on forgetting challenges."""


def challenge(challenges: Records[Challenge], vm_name: str, nonce: str, now: datetime) -> Challenge:
    """Return a new challenge for this machine, in place of the one before."""
    fresh = Challenge(vm_name, nonce, now, now + CHALLENGE_VALID)
    return challenges.upsert(vm_name, fresh, lambda _standing: fresh)


def meet(
    challenges: Records[Challenge], vm_name: str, report_data: str, evidence: str, mode: Nonces, now: datetime
) -> None:
    """Spend this machine's challenge on the evidence (its SHA-256), whose report data begins with the nonce.

    Once: no other evidence meets it after that; the same may be sent again. Raises Forbidden, Malformed.
    """
    if mode is Nonces.DISABLED:
        return
    sent = report_data[: 2 * NONCE_BYTES].lower()
    try:
        challenges.change(vm_name, partial(_met, sent=sent, evidence=evidence, mode=mode, now=now))
    except NotFound:
        if mode is Nonces.REQUIRED:
            raise _refusal(sent) from None


def forget(challenges: Records[Challenge], now: datetime, limit: int) -> int:
    """Remove challenges past their end, for so long, and return how many they were: anybody can ask for many."""
    old = challenges.before("expires_at", now, limit)

    def take(one: Challenge) -> bool:
        return challenges.take(one.vm_name, lambda stands: stands.expires_at < now) is not None

    return sum(together(take, old, SECONDS))


def _met(standing: Challenge, sent: str, evidence: str, mode: Nonces, now: datetime) -> Challenge:
    if standing.met_by == evidence:
        return standing
    matches, spent = standing.nonce.lower() == sent, standing.met_by is not None
    if now >= standing.expires_at or (spent and not matches):  # then none stands
        if mode is Nonces.OPTIONAL:
            return standing
        raise _refusal(sent)
    if not matches:
        raise _refusal(sent)
    if spent:
        raise Forbidden("The nonce was used before.")
    return replace(standing, met_by=evidence)


def _refusal(sent: str) -> Forbidden | Malformed:
    """An agent that is told 403 gives up; one that sent no nonce may ask for one and come again."""
    if sent.strip("0"):
        return Forbidden("The nonce is not the one of a challenge that stands for this machine.")
    return Malformed("A nonce is required: ask for a challenge, and begin the quote's report data with it.")
