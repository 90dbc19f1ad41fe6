"""The sweep's work for this contract: replace the machines of lost agents, forget expired records, fill pools.

Pools come last, because they replace the machines of lost agents.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from functions.apis.capacity.settings import CapacitySettings
from functions.apis.capacity.wire import CONTROLLER
from functions.domain.accounts import NOBODY
from functions.engine.agents import Agents
from functions.engine.attestation import Verifier
from functions.engine.enrolments import Enrolments
from functions.engine.pools import Pools
from functions.http.api import Chore
from shared.domain.spec import NodeSize


def replace_lost_agents(agents: Agents, limit: int) -> Counter[str]:
    return Counter(records_forgotten=agents.replace_lost(limit))


def forget_expired(verifier: Verifier, enrolments: Enrolments, limit: int) -> Counter[str]:
    return Counter(records_forgotten=verifier.forget_spent(limit) + enrolments.forget_expired(limit))


def fill_pools(pools: Pools, settings: CapacitySettings, limit: int) -> Counter[str]:
    if settings.default_pool:
        pools.add_target_once(
            NOBODY,
            settings.default_pool_datacenter,
            NodeSize.TINY,
            min_warm_count=settings.default_pool_count,
            dispatch=True,
            reason=CONTROLLER,
        )
    return pools.sweep(limit)


CHORES: Final[Sequence[Chore]] = (replace_lost_agents, forget_expired, fill_pools)
