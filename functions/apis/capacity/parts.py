"""What the capacity contract's handlers work with, beside the engine's ports."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from functions.apis.capacity.attestation import Trust
from functions.apis.capacity.sessions import Sessions
from functions.domain.accounts import Account, Enrolment
from functions.domain.agents import Agent, Challenge
from functions.domain.pools import Pool
from functions.ports import Appraiser, Records
from shared.domain.spec import Attestation, NodeSize

CLAIM_TTL: Final = timedelta(seconds=600)
"""How long a claim stands of a worker that sends no heartbeats (the contract's CAPACITY_ORDER_CLAIM_TTL_SECONDS)."""


@dataclass(frozen=True, slots=True)
class DefaultPool:
    """The pool that a deployment begins with."""

    datacenter: str
    node_size: NodeSize
    min_warm_count: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """`open_signup`: whether accounts of privileged types are for everyone; `attestation`: what pools demand that say
    nothing of it."""

    accounts: Records[Account]
    enrolments: Records[Enrolment]
    pools: Records[Pool]
    challenges: Records[Challenge]
    agents: Records[Agent]
    sessions: Sessions
    appraiser: Appraiser
    trust: Trust
    claim_ttl: timedelta = CLAIM_TTL
    open_signup: bool = False
    attestation: Attestation = Attestation.OPTIONAL
    default_pool: DefaultPool | None = None
