"""Makes what keeps pools of machines, and verifies the agents in them."""

from collections.abc import Callable, Sequence
from typing import Final

from functions.domain.agents import Agent
from functions.domain.pools import Pool
from functions.engine.agents import Agents
from functions.engine.associations import Associations
from functions.engine.attestation import SpentProofs, Verifier
from functions.engine.lost_agents import LostAgents
from functions.engine.order_sets import OrderSets
from functions.engine.pools import Pools
from functions.engine.quotas import Usage
from functions.engine.trust import Trust
from functions.ports.clock import Clock
from functions.ports.records import Records
from functions.settings import AttestationSettings, PoolSettings


def pools(
    records: Records[Pool],
    agents: Records[Agent],
    order_sets: OrderSets,
    usage: Usage,
    clock: Clock,
    settings: PoolSettings,
) -> Pools:
    return Pools(records, agents, order_sets, usage, clock, settings.attestation)


def trust(settings: AttestationSettings) -> Trust:
    return settings.trust()


MAKERS: Final[Sequence[Callable[..., object]]] = (pools, Agents, LostAgents, Associations, Verifier, SpentProofs, trust)
