"""What every handler works with: the ports, and where time, ids and waiting come from."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from functions.domain.accounts import Account, Enrolment
from functions.domain.agents import Agent, Challenge
from functions.domain.events import Claim
from functions.domain.order import Order
from functions.domain.pools import Pool
from functions.engine.attestation import Trust
from functions.engine.credentials import CallbackTokens
from functions.engine.sessions import Sessions
from functions.ports import Appraiser, Doorbell, KeyStore, OrderStore, OutputBucket, Records
from shared.domain.order import LEASE
from shared.domain.spec import Attestation


class NextClaim(Protocol):
    """Finds and claims some order; one is shared by all claimers of a process."""

    def next(self, lanes: Collection[str], claim: Claim, now: datetime) -> Order | None:
        """Return an order of these lanes after `claim`, or None where none is to be had now."""


@dataclass(frozen=True, slots=True)
class App:
    """`new_id` makes a fresh UUID, `new_secret` so many random bytes in URL-safe base64; `wait` sleeps that many
    seconds; `lease` is how long a claim or heartbeat lasts."""

    store: OrderStore
    keys: KeyStore
    doorbell: Doorbell
    bucket: OutputBucket
    candidates: NextClaim
    oldest: NextClaim
    """The same for the capacity contract, whose claims are given the oldest order first."""
    tokens: CallbackTokens
    accounts: Records[Account]
    enrolments: Records[Enrolment]
    pools: Records[Pool]
    challenges: Records[Challenge]
    agents: Records[Agent]
    sessions: Sessions
    appraiser: Appraiser
    trust: Trust
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    new_secret: Callable[[int], str]
    wait: Callable[[float], None]
    lease: timedelta = LEASE
    attestation: Attestation = Attestation.OPTIONAL
    """What a pool's orders demand if its target does not say."""
